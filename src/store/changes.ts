import { sql } from "kysely";
import type { Change, ChangeStore } from "../core/change-store.ts";
import { epochMs } from "../core/clock.ts";
import { accountId, calendarId, tenantId } from "../core/ids.ts";
import type { Database, Reader } from "./database.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

const MAX_PAGE = 1_000;

interface ChangeRow {
  readonly sequence: number;
  readonly account_id: string;
  readonly calendar_id: string | null;
  readonly event_key: string | null;
  readonly kind: string;
  readonly generation: number;
  readonly at: number;
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
        return {
          kind: "changes",
          changes: rows.map(toChange),
          next: rows.at(-1)?.sequence ?? after,
        };
      }),
    head: (tenant) =>
      database.snapshot(async (trx) => {
        const newest = await trx
          .selectFrom("changes")
          .select("sequence")
          .where("tenant_id", "=", toStoredText(tenant))
          .orderBy("sequence", "desc")
          .limit(1)
          .executeTakeFirst();
        return newest?.sequence ?? (await readForgotten(trx, tenant));
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
    forget: (before, limit) =>
      database.write(async (trx) => {
        const { rows } = await sql<{ tenant_id: string; sequence: number }>`
          delete from changes where sequence in (
            select sequence from changes where at < ${before} order by at limit ${limit})
          returning tenant_id, sequence`.execute(trx);
        const last = new Map<string, number>();
        for (const { tenant_id: tenant, sequence } of rows) {
          last.set(tenant, Math.max(sequence, last.get(tenant) ?? 0));
        }
        for (const [tenant, sequence] of last) {
          await trx
            .updateTable("tenants")
            .set({ changes_forgotten: sequence })
            .where("id", "=", tenant)
            .where("changes_forgotten", "<", sequence)
            .execute();
        }
        return rows.length;
      }),
  };
}

async function readForgotten(db: Reader, tenant: string): Promise<number> {
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
] as const;
const ACCOUNT_KINDS = [
  "account-connected",
  "account-needs-reconnect",
  "account-paused",
  "account-resumed",
  "account-removed",
] as const;

function toChange(row: ChangeRow): Change {
  const { generation } = row;
  const at = epochMs(row.at);
  const calendar = calendarId(fromStoredText(row.calendar_id ?? ""));
  const eventKind = EVENT_KINDS.find((kind) => kind === row.kind);
  if (eventKind !== undefined) {
    const eventId = fromStoredText(row.event_key ?? "");
    return { kind: eventKind, calendarId: calendar, eventId, generation, at };
  }
  const calendarKind = CALENDAR_KINDS.find((kind) => kind === row.kind);
  if (calendarKind !== undefined)
    return { kind: calendarKind, calendarId: calendar, generation, at };
  const accountKind = ACCOUNT_KINDS.find((kind) => kind === row.kind);
  if (accountKind === undefined) throw new Error(`A change of no known kind: ${row.kind}`);
  return { kind: accountKind, accountId: accountId(fromStoredText(row.account_id)), at };
}
