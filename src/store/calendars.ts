import { sql } from "kysely";
import type { CalendarCounts, CalendarStore } from "../core/calendar-store.ts";
import type { Clock } from "../core/clock.ts";
import { hasState, rankOfClass, stateSql, toCalendarRow } from "./calendar-rows.ts";
import { claimDueCalendars, countBacklog } from "./claim-due.ts";
import type { Database } from "./database.ts";
import { toStoredText } from "./stored-text.ts";

const MAX_LIST = 1_000;

/** Calendars, their marks and due times, in the database. */
export function createCalendarStore(deps: {
  readonly database: Database;
  readonly clock: Clock;
}): CalendarStore {
  const { database, clock } = deps;
  return {
    async get(id) {
      const row = await database.read((db) =>
        db
          .selectFrom("calendars")
          .selectAll()
          .where("id", "=", toStoredText(id))
          .executeTakeFirst(),
      );
      return row === undefined ? undefined : toCalendarRow(row, clock.now());
    },
    async list(filter) {
      const now = clock.now();
      const { tenantId, accountId, state, after } = filter;
      const rows = await database.read((db) =>
        db
          .selectFrom("calendars")
          .selectAll()
          .$if(tenantId !== undefined, (query) =>
            query.where("tenant_id", "=", toStoredText(tenantId ?? "")),
          )
          .$if(accountId !== undefined, (query) =>
            query.where("account_id", "=", toStoredText(accountId ?? "")),
          )
          .$if(after !== undefined, (query) => query.where("id", ">", toStoredText(after ?? "")))
          .$if(state !== undefined, (query) => query.where(hasState(state ?? "never", now)))
          .orderBy("id")
          .limit(Math.min(Math.max(filter.limit, 1), MAX_LIST))
          .execute(),
      );
      return rows.map((row) => toCalendarRow(row, now));
    },
    counts: () => countStates(database, clock.now()),
    backlog: (now) => countBacklog(database, now),
    request: (id, request) => markRequested({ database, clock }, id, request),
    claimDue: (query) => claimDueCalendars(database, query),
  };
}

/** Rows counted by one statement: a count holds up SQLite's thread only this long. */
const COUNTED_AT_ONCE = 20_000;

// One read after another: other reads have their turn in between.
async function countStates(database: Database, now: number): Promise<CalendarCounts> {
  const counts = { total: 0, never: 0, fresh: 0, stale: 0, slowed: 0, lost: 0, paused: 0 };
  const { last } = await database.read((db) =>
    db
      .selectFrom("calendars")
      .select(sql<number | null>`max(number)`.as("last"))
      .executeTakeFirstOrThrow(),
  );
  for (let from = 0; from < (last ?? 0); from += COUNTED_AT_ONCE) {
    const rows = await database.read((db) =>
      db
        .selectFrom("calendars")
        .select([stateSql(now).as("state"), sql<number>`count(*)`.as("count")])
        .where("number", ">", from)
        .where("number", "<=", from + COUNTED_AT_ONCE)
        .groupBy(sql`1`)
        .execute(),
    );
    for (const { state, count } of rows) {
      counts[state] += count;
      counts.total += count;
    }
  }
  return counts;
}

async function markRequested(
  { database, clock }: { readonly database: Database; readonly clock: Clock },
  id: string,
  request: Parameters<CalendarStore["request"]>[1],
): Promise<"marked" | "unknown-calendar" | "not-refreshable"> {
  const rank = rankOfClass(request.class);
  const now = clock.now();
  // A slowed calendar waits its time out: else each notification would bring the loop back.
  const mayHurry =
    request.class === "interactive" || request.class === "backfill"
      ? sql`true`
      : sql`slowed_reason is null`;
  const isSooner = sql`((due_at is null or ${request.dueAt} < due_at) and ${mayHurry})`;
  const row = await database.write((trx) =>
    trx
      .updateTable("calendars")
      .set({
        requested: sql`requested + 1`,
        full_mark: request.mode === "full" ? sql`requested + 1` : sql`full_mark`,
        unserved_since: sql`coalesce(unserved_since, ${now})`,
        pending_since: sql`coalesce(pending_since, ${now})`,
        pending_due_at: sql`case when pending_due_at is null or ${request.dueAt} < pending_due_at
          then ${request.dueAt} else pending_due_at end`,
        pending_class: sql`case when pending_class is null or ${rank} < pending_class
          then ${rank} else pending_class end`,
        // A row that only waits for its next poll has no class of its own to keep: a backfill that
        // comes earlier must not be paid for as a poll.
        due_class: sql`case when due_class > ${rank} or (${isSooner} and due_reason = 'poll')
          then ${rank} else due_class end`,
        due_reason: sql`case when ${isSooner} then 'requested' else due_reason end`,
        // A lost calendar is not due until its account's list holds it again.
        due_at: sql`case when lost_reason is not null then null
          when ${isSooner} then ${request.dueAt} else due_at end`,
        slowed_reason: request.class === "interactive" ? null : sql`slowed_reason`,
        queued_until:
          request.class === "interactive"
            ? sql`case when due_class > ${rank} then null else queued_until end`
            : sql`queued_until`,
      })
      .where("id", "=", toStoredText(id))
      .returning(["lost_reason", "account_state"])
      .executeTakeFirst(),
  );
  if (row === undefined) return "unknown-calendar";
  const isRefreshable = row.lost_reason === null && row.account_state === "connected";
  return isRefreshable ? "marked" : "not-refreshable";
}
