import { sql, type RawBuilder } from "kysely";
import {
  POLL_KINDS,
  type PollCensus,
  type PollKind,
  type PollPast,
  type PollStore,
} from "../core/poll-store.ts";
import { momentOf } from "./calendar-rows.ts";
import type { Database, Reader, Trx } from "./database.ts";
import { pulledIn } from "./pull-in.ts";
import { toStoredText } from "./stored-text.ts";

/** Rows counted by one statement: a count holds up SQLite's thread only this long. */
const COUNTED_AT_ONCE = 20_000;
/** Channels that an average life is taken from. */
const SAMPLED_CHANNELS = 1_000;
const SILENCES_WITHIN_MS = 6 * 3_600_000;
/** A channel opened instead of a silent one had this long to tell something before it is judged. */
const SILENCE_JUDGED_AFTER_MS = 30 * 60_000;
const MOST_SILENCES = 1_000;

/** What polls are planned by, in the database. */
export function createPollStore({ database }: { readonly database: Database }): PollStore {
  return {
    census: (projectId, now) => takeCensus(database, toStoredText(projectId), now),
    async plan(projectId) {
      const row = await database.read((db) =>
        db
          .selectFrom("poll_plans")
          .select("plan")
          .where("project_id", "=", toStoredText(projectId))
          .executeTakeFirst(),
      );
      return row?.plan == null ? undefined : parse(row.plan);
    },
    async takeTurn(projectId, turn) {
      const { rows } = await database.write((trx) => takeTurn(trx, projectId, turn));
      return rows.length > 0;
    },
    async keepPlan(projectId, plan) {
      await database.write((trx) =>
        trx
          .updateTable("poll_plans")
          .set({ plan: JSON.stringify(plan) })
          .where("project_id", "=", toStoredText(projectId))
          .execute(),
      );
    },
    of: (id) => database.snapshot((trx) => readPast(trx, id)),
    noteReads: (ids, read) => noteReads(database, ids, read),
    pullIn: (projectId, change) => pullIn(database, toStoredText(projectId), change),
  };
}

/** One asker in so long; a clock that was set back must not stop everyone until it has caught up. */
function takeTurn(
  trx: Trx,
  projectId: string,
  { now, everyMs }: { readonly now: number; readonly everyMs: number },
): Promise<{ readonly rows: readonly unknown[] }> {
  return sql`
    insert into poll_plans (project_id, planned_at) values (${toStoredText(projectId)}, ${now})
    on conflict (project_id) do update set planned_at = excluded.planned_at
      where poll_plans.planned_at <= ${now - everyMs} or poll_plans.planned_at > ${now + everyMs}
    returning project_id`.execute(trx);
}

async function takeCensus(database: Database, projectId: string, now: number): Promise<PollCensus> {
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

/** In the words of the index's own condition, and from it alone. */
const IS_POLLED = sql`account_state = 'connected' and due_at is not null`;

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

async function readPast(trx: Trx, id: string): Promise<PollPast | undefined> {
  const row = await trx
    .selectFrom("calendars")
    .select([
      "poll_kind",
      "watch_state",
      "published_at",
      "last_read_at",
      "notified_at",
      "fresh_until",
    ])
    .where("id", "=", toStoredText(id))
    .executeTakeFirst();
  if (row === undefined) return undefined;
  return {
    kind: row.poll_kind,
    watchState: row.watch_state,
    changedAt: momentOf(row.published_at),
    readAt: momentOf(row.last_read_at),
    notifiedAt: momentOf(row.notified_at),
    freshUntil: momentOf(row.fresh_until),
  };
}

/** Read first: nearly all of them were noted already. */
async function noteReads(
  database: Database,
  calendarIds: Parameters<PollStore["noteReads"]>[0],
  { at, unlessAfter, wakeBy }: Parameters<PollStore["noteReads"]>[1],
): Promise<number> {
  const isForgotten = sql<boolean>`(last_read_at is null or last_read_at <= ${unlessAfter})`;
  const found = await database.read((db) =>
    db
      .selectFrom("calendars")
      .select("id")
      .where("id", "in", calendarIds.map(toStoredText))
      .where(isForgotten)
      .execute(),
  );
  // In one order everywhere, so that two processes do not hold each other up.
  const ids = found.map(({ id }) => id).toSorted();
  if (ids.length === 0) return 0;
  await database.write(async (trx) => {
    await trx
      .selectFrom("calendars")
      .select("number")
      .where("id", "in", ids)
      .orderBy("id")
      .modifyEnd(database.dialect.forUpdate)
      .execute();
    const isIdle = sql`poll_kind = 'idle'`;
    await trx
      .updateTable("calendars")
      .set({
        last_read_at: at,
        ...pulledIn({ if: isIdle, pollBy: sql`cast(${wakeBy} as bigint)` }),
      })
      .where("id", "in", ids)
      .execute();
  });
  return ids.length;
}

async function pullIn(
  database: Database,
  projectId: string,
  { from, to, pollBy }: Parameters<PollStore["pullIn"]>[1],
): Promise<number> {
  return database.write(async (trx) => {
    const found = await trx
      .selectFrom("calendars")
      .select("number")
      .where("project_id", "=", projectId)
      .where("poll_kind", "=", from)
      .where(sql<boolean>`${IS_POLLED}`)
      .orderBy("number")
      .limit(pollBy.length)
      .modifyEnd(database.dialect.forUpdateOfFree)
      .execute();
    if (found.length === 0) return 0;
    const times = database.dialect.rowsFrom(
      found.map(({ number }, at) => ({ its_number: number, poll_by: pollBy[at] ?? 0 })),
      { its_number: "bigint", poll_by: "bigint" },
    );
    const { due_at: dueAt, fresh_until: freshUntil } = pulledIn({
      if: sql`true`,
      pollBy: sql.ref("poll_by"),
    });
    await sql`
      update calendars set poll_kind = ${to}, due_at = ${dueAt}, fresh_until = ${freshUntil}
      from ${times} where number = its_number`.execute(trx);
    return found.length;
  });
}

function parse(text: string): unknown {
  return JSON.parse(text);
}
