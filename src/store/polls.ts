import { sql } from "kysely";
import type { PollKind, PollPast, PollStore } from "../core/poll-store.ts";
import { momentOf } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { IS_POLLED, takeCensus } from "./poll-census.ts";
import { pulledIn } from "./pull-in.ts";
import { toStoredText } from "./stored-text.ts";

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
    pullIn: (projectId, change) =>
      database.write((trx) => pullIn({ database, trx }, toStoredText(projectId), change)),
    noteListening: (projectId, beat) =>
      database.write((trx) => noteListening(trx, toStoredText(projectId), beat)),
    pullInUnheard: (projectId, pollBy) =>
      database.write((trx) => pullInUnheard({ database, trx }, toStoredText(projectId), pollBy)),
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

interface Place {
  readonly database: Database;
  readonly trx: Trx;
}

async function pullIn(
  { database, trx }: Place,
  projectId: string,
  { from, to, pollBy }: Parameters<PollStore["pullIn"]>[1],
): Promise<number> {
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
  const numbers = found.map(({ number }) => number);
  await pollBySoon({ database, trx }, numbers, { to, pollBy });
  return numbers.length;
}

async function pollBySoon(
  { database, trx }: Place,
  numbers: readonly number[],
  { to, pollBy }: { readonly to: PollKind; readonly pollBy: readonly number[] },
): Promise<void> {
  if (numbers.length === 0) return;
  const times = database.dialect.rowsFrom(
    numbers.map((number, at) => ({ its_number: number, poll_by: pollBy[at] ?? 0 })),
    { its_number: "bigint", poll_by: "bigint" },
  );
  const { due_at: dueAt, fresh_until: freshUntil } = pulledIn({
    if: sql`true`,
    pollBy: sql.ref("poll_by"),
  });
  await sql`
    update calendars set poll_kind = ${to}, due_at = ${dueAt}, fresh_until = ${freshUntil}
    from ${times} where number = its_number`.execute(trx);
}

/** A gap ends what an earlier one began to see to: it covers that as well. */
async function noteListening(
  trx: Trx,
  projectId: string,
  { now, gapMs }: { readonly now: number; readonly gapMs: number },
): Promise<void> {
  const isGap = sql`poll_plans.listened_at < ${now - gapMs}`;
  await sql`
    insert into poll_plans (project_id, planned_at, listened_at) values (${projectId}, 0, ${now})
    on conflict (project_id) do update set
      listened_at = excluded.listened_at,
      planned_at = case when ${isGap} then 0 else poll_plans.planned_at end,
      unheard_until = case when ${isGap} then excluded.listened_at
        else poll_plans.unheard_until end,
      unheard_after = case when ${isGap} then 0 else poll_plans.unheard_after end`.execute(trx);
}

/** By number, so that each is looked at once however long it takes. */
async function pullInUnheard(
  place: Place,
  projectId: string,
  pollBy: readonly number[],
): Promise<{ readonly pulled: number } | undefined> {
  const { database, trx } = place;
  const state = await trx
    .selectFrom("poll_plans")
    .select(["unheard_until", "unheard_after"])
    .where("project_id", "=", projectId)
    .modifyEnd(database.dialect.forUpdate)
    .executeTakeFirst();
  if (state?.unheard_until == null) return undefined;
  const found = await trx
    .selectFrom("calendars")
    .select(["number", "current_as_of"])
    .where("project_id", "=", projectId)
    .where("poll_kind", "=", "live")
    .where(sql<boolean>`${IS_POLLED}`)
    .where("number", ">", state.unheard_after)
    .orderBy("number")
    .limit(pollBy.length)
    .execute();
  const unheard = found.filter((row) => (row.current_as_of ?? 0) < (state.unheard_until ?? 0));
  const numbers = unheard.map(({ number }) => number);
  await pollBySoon(place, numbers, { to: "unproven", pollBy });
  const last = found.at(-1);
  const isDone = found.length < pollBy.length || last === undefined;
  await trx
    .updateTable("poll_plans")
    .set(isDone ? { unheard_until: null } : { unheard_after: last.number })
    .where("project_id", "=", projectId)
    .execute();
  return { pulled: numbers.length };
}

function parse(text: string): unknown {
  return JSON.parse(text);
}
