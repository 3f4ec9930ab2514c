import { sql } from "kysely";
import type { Change, ChangeStore } from "../core/change-store.ts";
import { epochMs, type EpochMs } from "../core/clock.ts";
import { accountId, calendarId, tenantId, type TenantId } from "../core/ids.ts";
import type { Database, Reader, Trx } from "./database.ts";
import { fromStoredText, fromStoredTextOrUndefined, toStoredText } from "./stored-text.ts";

const MAX_PAGE = 1_000;

interface ChangeRow {
  readonly sequence: number;
  readonly account_id: string;
  readonly calendar_id: string | null;
  readonly event_key: string | null;
  readonly kind: string;
  readonly generation: number;
  readonly at: number;
  readonly account_state: string | null;
  readonly reason: string | null;
}

/** The feed of changes, in the database. */
export function createChangeStore({ database }: { readonly database: Database }): ChangeStore {
  return {
    read: (tenant, { after, limit }) =>
      database.snapshot(async (trx) => {
        if (after < (await readForgotten(trx, tenant))) return { kind: "forgotten" };
        const rows = await trx
          .selectFrom("changes")
          .selectAll()
          .where("tenant_id", "=", toStoredText(tenant))
          .where("sequence", ">", after)
          .orderBy("sequence")
          .limit(Math.min(Math.max(limit, 1), MAX_PAGE))
          .execute();
        const last = rows.at(-1);
        if (last !== undefined) {
          return { kind: "changes", changes: rows.map(toChange), next: last.sequence };
        }
        if (after > (await readHead(trx, tenant))) return { kind: "forgotten" };
        return { kind: "changes", changes: [], next: after };
      }),
    head: (tenant) => database.snapshot((trx) => readHead(trx, tenant)),
    newest: () =>
      database.read(async (db) => {
        const { rows } = await sql<{ newest: number | null }>`
          select max(sequence) as newest from changes`.execute(db);
        return rows[0]?.newest ?? 0;
      }),
    async waiting(positions) {
      if (positions.size === 0) return [];
      const asks = [...positions].map(([tenant, after]) => ({
        tenant: toStoredText(tenant),
        after_sequence: after,
      }));
      const source = database.dialect.rowsFrom(asks, { tenant: "text", after_sequence: "bigint" });
      const { rows } = await database.read((db) =>
        sql<{ tenant: string }>`
          select r.tenant from ${source}
          where exists (select 1 from changes as c
            where c.tenant_id = r.tenant and c.sequence > r.after_sequence)`.execute(db),
      );
      return rows.map(({ tenant }) => tenantId(fromStoredText(tenant)));
    },
    forget: (before, limit) => database.write((trx) => forget(database, trx, { before, limit })),
  };
}

/** The number moves with the rows: who asks for them is told that they are gone, never that there were none. */
async function forget(
  { dialect }: Database,
  trx: Trx,
  portion: { readonly before: EpochMs; readonly limit: number },
): Promise<number> {
  const { rows } = await sql<{ tenant_id: string; sequence: number }>`
    delete from changes where sequence in (
      select sequence from changes where at < ${portion.before}
      order by at limit ${portion.limit} ${dialect.forUpdateOfFree})
    returning tenant_id, sequence`.execute(trx);
  const last = new Map<string, number>();
  for (const { tenant_id: tenant, sequence } of rows) {
    last.set(tenant, Math.max(sequence, last.get(tenant) ?? 0));
  }
  // In one order: two that forget at once must not wait for each other.
  for (const tenant of [...last.keys()].toSorted()) {
    const sequence = last.get(tenant) ?? 0;
    await trx
      .updateTable("tenants")
      .set({ changes_forgotten: sequence })
      .where("id", "=", tenant)
      .where("changes_forgotten", "<", sequence)
      .execute();
  }
  return rows.length;
}

/** The newest change, or the newest forgotten: which is newer depends on the clocks of who wrote and who forgot. */
export async function readHead(db: Reader, tenant: TenantId): Promise<number> {
  const newest = await db
    .selectFrom("changes")
    .select("sequence")
    .where("tenant_id", "=", toStoredText(tenant))
    .orderBy("sequence", "desc")
    .limit(1)
    .executeTakeFirst();
  return Math.max(newest?.sequence ?? 0, await readForgotten(db, tenant));
}

async function readForgotten(db: Reader, tenant: TenantId): Promise<number> {
  const row = await db
    .selectFrom("tenants")
    .select("changes_forgotten")
    .where("id", "=", toStoredText(tenant))
    .executeTakeFirst();
  return row?.changes_forgotten ?? 0;
}

const EVENT_KINDS = ["event-created", "event-updated", "event-deleted"] as const;
const CALENDAR_KINDS = [
  "calendar-added",
  "calendar-replaced",
  "calendar-lost",
  "calendar-returned",
  "calendar-removed",
] as const;
const ACCOUNT_KINDS = [
  "account-connected",
  "account-needs-reconnect",
  "account-paused",
  "account-resumed",
  "account-removed",
] as const;

const ACCOUNT_STATES = ["connected", "needs-reconnect", "paused", "removed"] as const;

function toChange(row: ChangeRow): Change {
  const at = epochMs(row.at);
  const account = accountId(fromStoredText(row.account_id));
  const calendar = {
    accountId: account,
    calendarId: calendarId(fromStoredText(row.calendar_id ?? "")),
    generation: row.generation,
    at,
  };
  const eventKind = EVENT_KINDS.find((kind) => kind === row.kind);
  if (eventKind !== undefined) {
    const eventId = fromStoredText(row.event_key ?? "");
    return { kind: eventKind, ...calendar, eventId };
  }
  const calendarKind = CALENDAR_KINDS.find((kind) => kind === row.kind);
  if (calendarKind !== undefined) return { kind: calendarKind, ...calendar };
  const accountKind = ACCOUNT_KINDS.find((kind) => kind === row.kind);
  if (accountKind === undefined) throw new Error(`A change of no known kind: ${row.kind}`);
  const state = ACCOUNT_STATES.find((one) => one === row.account_state);
  if (state === undefined)
    throw new Error(`A change to no known state: ${String(row.account_state)}`);
  return {
    kind: accountKind,
    accountId: account,
    state,
    reason: fromStoredTextOrUndefined(row.reason),
    at,
  };
}
