import { sql } from "kysely";
import type { AccountState } from "../core/account-store.ts";
import type { Change } from "../core/change-store.ts";
import type { StoredCalendar } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";

/** More than this in one publish, and whoever follows had better read the calendar again. */
export const MOST_NAMED_CHANGES = 1_000;

/** What a publish did, by event; counts go on when there are too many to name. */
export interface EventChanges {
  readonly created: string[];
  readonly updated: string[];
  readonly deleted: string[];
}

type Kind = Change["kind"];

/** One row of the feed, in the transaction of what it tells. */
export interface NotedChange {
  readonly tenantId: string;
  readonly accountId: string;
  readonly calendarId: string | null;
  readonly eventKey: string | null;
  readonly kind: Kind;
  readonly generation: number;
  readonly at: number;
  /** Of an account's change: the state it is in now, and why. */
  readonly account?: { readonly state: AccountState; readonly reason: string | null };
}

const ROWS_PER_STATEMENT = 500;

/**
 * Write changes where feeds read them: the last statement of their transaction. From a tenant's lock to the
 * commit no other transaction numbers changes of this tenant, so that numbers are in the order of commits,
 * also in a database that was restored elsewhere.
 */
export async function noteChanges(
  database: Database,
  trx: Trx,
  changes: readonly NotedChange[],
): Promise<void> {
  // Always in one order: two transactions that tell several tenants must not wait for each other.
  const tenants = [...new Set(changes.map(({ tenantId }) => tenantId))].toSorted();
  for (const tenant of tenants) {
    await database.dialect.excludeOthersOf(trx, { what: "changes", of: tenant });
  }
  for (let from = 0; from < changes.length; from += ROWS_PER_STATEMENT) {
    await insertChanges(database, trx, changes.slice(from, from + ROWS_PER_STATEMENT));
  }
}

async function insertChanges(
  database: Database,
  trx: Trx,
  changes: readonly NotedChange[],
): Promise<void> {
  const rows = changes.map((change) => ({
    tenant_id: change.tenantId,
    account_id: change.accountId,
    calendar_id: change.calendarId,
    event_key: change.eventKey,
    kind: change.kind,
    generation: change.generation,
    at: change.at,
    account_state: change.account?.state ?? null,
    reason: change.account?.reason ?? null,
  }));
  const source = database.dialect.rowsFrom(rows, {
    tenant_id: "text",
    account_id: "text",
    calendar_id: "text",
    event_key: "text",
    kind: "text",
    generation: "bigint",
    at: "bigint",
    account_state: "text",
    reason: "text",
  });
  await sql`
    insert into changes (tenant_id, account_id, calendar_id, event_key, kind, generation, at,
      account_state, reason)
    select r.tenant_id, r.account_id, r.calendar_id, r.event_key,
      r.kind, r.generation, r.at, r.account_state, r.reason
    from ${source} where true`.execute(trx);
}

/** What became of a calendar, as a row of the feed. */
export function calendarChange(
  calendar: Pick<StoredCalendar, "id" | "tenant_id" | "account_id" | "generation">,
  change: Pick<NotedChange, "kind" | "at">,
): NotedChange {
  return {
    ...change,
    tenantId: calendar.tenant_id,
    accountId: calendar.account_id,
    calendarId: calendar.id,
    eventKey: null,
    generation: calendar.generation,
  };
}

/** The changes of one publish; one row where they are too many to name, or nobody knew the calendar before. */
export function changesOfPublish(
  calendar: {
    readonly tenantId: string;
    readonly accountId: string;
    readonly calendarId: string;
    readonly generation: number;
    readonly wasPublished: boolean;
    readonly at: number;
  },
  events: EventChanges,
): readonly NotedChange[] {
  const { wasPublished, ...of } = calendar;
  const named = events.created.length + events.updated.length + events.deleted.length;
  if (!wasPublished || named > MOST_NAMED_CHANGES) {
    return [{ ...of, eventKey: null, kind: "calendar-replaced" }];
  }
  const rows = (kind: Kind, keys: readonly string[]): readonly NotedChange[] =>
    keys.map((eventKey) => ({ ...of, eventKey, kind }));
  // Deletions first: an exception that lost its series and one that came in its place share no key, a
  // series that was replaced under its own does.
  return [
    ...rows("event-deleted", events.deleted),
    ...rows("event-created", events.created),
    ...rows("event-updated", events.updated),
  ];
}
