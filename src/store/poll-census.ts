import { sql, type RawBuilder } from "kysely";
import { POLL_KINDS, type PollCensus, type PollKind } from "../core/poll-store.ts";
import type { Database, Reader } from "./database.ts";

/** Rows counted by one statement: a count holds up SQLite's thread only this long. */
const COUNTED_AT_ONCE = 20_000;
/** Channels that an average life is taken from. */
const SAMPLED_CHANNELS = 1_000;
const SILENCES_WITHIN_MS = 6 * 3_600_000;
/** A channel opened instead of a silent one had this long to tell something before it is judged. */
const SILENCE_JUDGED_AFTER_MS = 30 * 60_000;
const MOST_SILENCES = 1_000;

/** In the words of the index's own condition, and from it alone. */
export const IS_POLLED = sql`account_state = 'connected' and due_at is not null`;

/** How many there are of each kind, counted in portions. */
export async function takeCensus(
  database: Database,
  projectId: string,
  now: number,
): Promise<PollCensus> {
  const counts: Record<PollKind, number> = {
    first: 0,
    live: 0,
    unproven: 0,
    active: 0,
    idle: 0,
    unwatchable: 0,
    slowed: 0,
  };
  for (const kind of POLL_KINDS) {
    counts[kind] = await countInPortions(database, (after) =>
      polledOfKind({ database, projectId, kind }, after),
    );
  }
  return {
    calendars: counts,
    accounts: await countInPortions(database, (after) => listedAccounts(projectId, after)),
    ...(await database.read((db) => readChannels(db, now))),
  };
}

type Key = number | string;
interface Portion {
  readonly rows: number;
  readonly last: Key | null;
}

/** One read after another: other reads have their turn in between. */
async function countInPortions(
  database: Database,
  portion: (after: Key | undefined) => RawBuilder<Portion>,
): Promise<number> {
  let total = 0;
  for (let after: Key | undefined; ;) {
    const from = after;
    const { rows: found } = await database.read((db) => portion(from).execute(db));
    const { rows, last } = found[0] ?? { rows: 0, last: null };
    total += rows;
    if (rows < COUNTED_AT_ONCE || last === null) return total;
    after = last;
  }
}

function polledOfKind(
  of: { readonly database: Database; readonly projectId: string; readonly kind: PollKind },
  after: Key | undefined,
): RawBuilder<Portion> {
  const { database, projectId, kind } = of;
  return sql<Portion>`select count(*) as rows, max(number) as last from (
    select number from calendars ${fromIndex(database)}
    where project_id = ${projectId} and poll_kind = ${kind} and ${IS_POLLED}
      and number > ${after ?? 0}
    order by number limit ${sql.lit(COUNTED_AT_ONCE)}) as portion`;
}

/** Else SQLite goes through the rows themselves: `number` is what they are ordered by. */
function fromIndex({ dialect }: Database): RawBuilder<unknown> {
  return dialect.name === "sqlite" ? sql`indexed by calendars_polled` : sql``;
}

function listedAccounts(projectId: string, after: Key | undefined): RawBuilder<Portion> {
  return sql<Portion>`select count(*) as rows, max(id) as last from (
    select id from accounts
    where project_id = ${projectId} and connection = 'connected' and paused_reason is null
      and id > ${after ?? ""}
    order by id limit ${sql.lit(COUNTED_AT_ONCE)}) as portion`;
}

async function readChannels(
  db: Reader,
  now: number,
): Promise<Pick<PollCensus, "channelLifeMs" | "silence">> {
  // By their random ids: a sample of all ages.
  const { rows } = await sql<{
    readonly life: number | null;
    readonly replaced: number;
    readonly told: number;
  }>`
    select
      (select cast(avg(expires_at - created_at) as bigint) from (
        select expires_at, created_at from channels where state = 'live'
        order by id limit ${sql.lit(SAMPLED_CHANNELS)}) as a) as life,
      count(*) as replaced,
      count(last_message_at) as told
    from (
      select last_message_at from channels
      where reason = 'silent' and created_at > ${now - SILENCES_WITHIN_MS}
        and created_at <= ${now - SILENCE_JUDGED_AFTER_MS}
      limit ${sql.lit(MOST_SILENCES)}) as b`.execute(db);
  const { life, replaced, told } = rows[0] ?? { life: null, replaced: 0, told: 0 };
  return {
    channelLifeMs: life === null ? undefined : life,
    silence: { replaced, told },
  };
}
