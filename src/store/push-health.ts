import { sql } from "kysely";
import type { PushHealth } from "../core/channel-store.ts";
import type { Database } from "./database.ts";

const DAY_MS = 86_400_000;
/** Calendars are counted so many at a time, and other reads have their turn in between. */
const COUNTED_AT_ONCE = 20_000;
/** From here on a count of channels is an estimate. */
const EXACT_TO = 10_000;

type Counted = Exclude<keyof PushHealth, "watched" | "unwatched" | "unwatchable">;

/** How the fleet hears of changes: few rows at a time, and from indexes that hold the exceptional ones only. */
export async function readPushHealth(database: Database, now: number): Promise<PushHealth> {
  const calendars = await countWatched(database);
  const { rows } = await database.read((db) =>
    sql<Record<Counted, number>>`
    select
      (select count(*) from (select 1 from channels
        where state <> 'live' and state = 'opening' limit ${sql.lit(EXACT_TO)}) as a) as opening,
      (select count(*) from (select 1 from channels
        where state <> 'live' and state = 'stopping' limit ${sql.lit(EXACT_TO)}) as b) as stopping,
      (select count(*) from (select 1 from channels
        where state = 'live' and expires_at < ${now + DAY_MS} limit ${sql.lit(EXACT_TO)}) as c) as expiring,
      (select count(*) from (select 1 from channels
        where reason = 'silent' limit ${sql.lit(EXACT_TO)}) as d) as "silentReplaced",
      (select count(*) from (select 1 from calendars
        where watch_silent_at is not null and watch_state = 'watched' and not exists (
          select 1 from channels where calendar_id = calendars.id and state = 'live'
            and last_message_at >= watch_silent_at)
        limit ${sql.lit(EXACT_TO)}) as e) as silent`.execute(db),
  );
  const none = { opening: 0, stopping: 0, expiring: 0, silentReplaced: 0, silent: 0 };
  return { ...calendars, ...(rows[0] ?? none) };
}

async function countWatched(
  database: Database,
): Promise<Pick<PushHealth, "watched" | "unwatched" | "unwatchable">> {
  const counts = { watched: 0, unwatched: 0, unwatchable: 0 };
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
        .select(["watch_state", sql<number>`count(*)`.as("count")])
        .where("number", ">", from)
        .where("number", "<=", from + COUNTED_AT_ONCE)
        .groupBy("watch_state")
        .execute(),
    );
    for (const { watch_state: state, count } of rows) counts[state] += count;
  }
  return counts;
}
