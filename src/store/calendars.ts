import { sql } from "kysely";
import type { CalendarCounts, CalendarStore } from "../core/calendar-store.ts";
import type { Clock } from "../core/clock.ts";
import { hasState, stateSql, toCalendarRow } from "./calendar-rows.ts";
import { claimDueCalendars, countBacklog } from "./claim-due.ts";
import type { Database } from "./database.ts";
import { markRequested, markUnlessPending } from "./mark-requested.ts";
import { queuedUntilOf } from "./queued-calendars.ts";
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
          .select(queuedUntilOf("calendars").as("queued_until"))
          .where("id", "=", toStoredText(id))
          .where("account_state", "<>", "removed")
          .executeTakeFirst(),
      );
      return row === undefined ? undefined : toCalendarRow(row, clock.now());
    },
    async list(filter) {
      const now = clock.now();
      const { tenantId, accountId, googleId, state, after } = filter;
      const rows = await database.read((db) =>
        db
          .selectFrom("calendars")
          .selectAll()
          .select(queuedUntilOf("calendars").as("queued_until"))
          .where("account_state", "<>", "removed")
          .$if(tenantId !== undefined, (query) =>
            query.where("tenant_id", "=", toStoredText(tenantId ?? "")),
          )
          .$if(accountId !== undefined, (query) =>
            query.where("account_id", "=", toStoredText(accountId ?? "")),
          )
          .$if(googleId !== undefined, (query) =>
            query.where("google_id", "=", toStoredText(googleId ?? "")),
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
    async request(id, request) {
      const wish = { ...request, calendarId: id };
      const [outcome] = await markRequested({ database, now: clock.now() }, [wish]);
      return outcome?.kind ?? "unknown-calendar";
    },
    requestMany: (requests) => markUnlessPending({ database, now: clock.now() }, requests),
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
