import { sql, type Selectable } from "kysely";
import type { Database, Trx } from "./database.ts";
import { accountChange } from "./note-account.ts";
import { calendarChange, noteChanges, type NotedChange } from "./note-changes.ts";
import { NO_LISTING } from "./no-listing.ts";
import { hashOfCalendar, isAccountOf, type RemovalScope } from "./removal-scope.ts";
import type { RemovalsTable } from "./leaving-tables.ts";

/*
 * What is marked is out of use: no claim, lease, read or token refresh finds it, and who held a lease on it is fenced
 * out. Marks are never taken back.
 */

interface Place {
  readonly database: Database;
  readonly trx: Trx;
}

const UNUSED_CALENDAR = {
  account_state: "removed",
  due_at: null,
  lease_until: null,
  watch_due_at: null,
  sync_token: null,
  ...NO_LISTING,
} as const;

/** Up to `limit` accounts of a removal, with their calendars; how many. */
export async function markAccounts(
  { database, trx }: Place,
  removal: RemovalScope & Pick<Selectable<RemovalsTable>, "kind">,
  { limit, now }: { readonly limit: number; readonly now: number },
): Promise<number> {
  const accounts = await trx
    .selectFrom("accounts")
    .select("id")
    .where(isAccountOf(removal))
    .where("connection", "<>", "removed")
    .orderBy("id")
    .limit(limit)
    .modifyEnd(database.dialect.forUpdate)
    .execute();
  if (accounts.length === 0) return 0;
  const ids = accounts.map(({ id }) => id);
  const marked = await trx
    .updateTable("accounts")
    .set({
      connection: "removed",
      connection_reason: "being-removed",
      connection_since: now,
      discovery_due_at: null,
      discovery_queued_until: null,
      discovery_lease_until: null,
      discovery_fence: sql`discovery_fence + 1`,
      list_sync_token: null,
      // From here on the mark is that of what is asked in order to let it go.
      discovery_earlier_attempt: "none",
    })
    .where("id", "in", ids)
    .returning(["id", "tenant_id", "connection", "connection_reason", "paused_reason"])
    .execute();
  const calendars = await trx
    .updateTable("calendars")
    .set({ ...UNUSED_CALENDAR, fence: sql`fence + 1` })
    .where("account_id", "in", ids)
    .returning(["id", "tenant_id", "account_id", "generation"])
    .execute();
  // A tenant that goes takes its feed along.
  if (removal.kind === "tenant") return ids.length;
  await noteChanges(database, trx, [
    ...calendars.map((calendar) => calendarChange(calendar, { kind: "calendar-removed", at: now })),
    ...marked.map((account) => accountChange(account, { kind: "account-removed", at: now })),
  ] satisfies NotedChange[]);
  return ids.length;
}

/** One calendar of an account that stays, which must not find it again in its list. */
export async function markCalendar(
  { database, trx }: Place,
  removal: RemovalScope,
  now: number,
): Promise<void> {
  const calendar = await trx
    .updateTable("calendars")
    .set({ ...UNUSED_CALENDAR, fence: sql`fence + 1` })
    .where("id", "=", removal.calendar_id)
    .returning(["id", "tenant_id", "account_id", "google_id", "generation"])
    .executeTakeFirstOrThrow();
  await trx
    .insertInto("excluded_calendars")
    .values({
      account_id: calendar.account_id,
      google_hash: hashOfCalendar(calendar.account_id, calendar.google_id),
      excluded_at: now,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const change = calendarChange(calendar, { kind: "calendar-removed", at: now });
  await noteChanges(database, trx, [change]);
}
