import { sql, type RawBuilder } from "kysely";
import type { Marked, Notified, NotifiedHow } from "../core/channel-store.ts";
import { calendarId, type CalendarId } from "../core/ids.ts";
import { rankOfClass, type StoredCalendar } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { queuedUntilOf } from "./queued-calendars.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

const PUSH = rankOfClass("push");
/** A mark's due time is moved in steps of this part of the quiet time, so that a surge does not write for each notification. */
const STEP = 0.25;

/**
 * I6: after this every refresh that begins serves these notifications. Read first: a mark that stands and
 * that no refresh has begun to serve (`pending_since`, cleared when one begins) holds for what is notified
 * now as well, and then nothing is written.
 */
export async function markNotified(
  database: Database,
  notified: readonly Notified[],
  how: NotifiedHow,
): Promise<Marked> {
  const channelsOf = Map.groupBy(notified, ({ calendarId: id }) => toStoredText(id));
  const told = idsIn(database, channelsOf.keys());
  const { rows } = await database.read((db) =>
    sql<Pending>`select id, pending_since, pending_due_at, pending_class,
      ${queuedUntilOf("calendars")} as queued_until
      from calendars where id in ${told}`.execute(db),
  );
  const unmarked = rows.filter((row) => !isMarked(row)).map(({ id }) => id);
  if (unmarked.length > 0) {
    const channels = unmarked.flatMap((id) => channelsOf.get(id) ?? []);
    await mark(database, { calendars: unmarked, channels: channels.map(toChannelId) }, how);
  }
  const early = rows.filter((row) => isMarked(row) && isEarly(row, how)).map(({ id }) => id);
  return { marked: unmarked.map(toCalendarId), early: early.map(toCalendarId) };
}

/** Their marks stand and they were told of again: due later, as far as `debounce` lets them, unless they are queued. */
export async function putOff(
  database: Database,
  calendars: readonly CalendarId[],
  how: NotifiedHow,
): Promise<void> {
  const ids = idsIn(database, calendars.map(toStoredText));
  const { dueAt, isLater, isMovable } = laterThan(how);
  await database.write(async (trx) => {
    await lock(database, trx, ids);
    await sql`update calendars set
        due_at = case when ${isMovable} then ${dueAt} else due_at end,
        pending_due_at = ${dueAt}
      where id in ${ids} and ${isLater}`.execute(trx);
  });
}

async function mark(
  database: Database,
  told: { readonly calendars: readonly string[]; readonly channels: readonly string[] },
  how: NotifiedHow,
): Promise<void> {
  const ids = idsIn(database, told.calendars);
  await database.write(async (trx) => {
    await lock(database, trx, ids);
    await trx
      .updateTable("calendars")
      .set(markOf(how))
      .where(sql<boolean>`id in ${ids}`)
      .execute();
    await sql`update channels set last_message_at = ${how.now}
      where id in ${idsIn(database, told.channels)}`.execute(trx);
  });
}

/** In one order everywhere, so that two processes do not hold each other up. */
async function lock(database: Database, trx: Trx, ids: RawBuilder<unknown>): Promise<void> {
  await sql`select number from calendars where id in ${ids} order by id ${
    database.dialect.forUpdate
  }`.execute(trx);
}

/** One parameter however many, so that every batch is the same statement. */
function idsIn({ dialect }: Database, ids: Iterable<string>): RawBuilder<unknown> {
  const rows = Array.from(ids, (one) => ({ one }));
  return sql`(select one from ${dialect.rowsFrom(rows, { one: "text" })})`;
}

const toChannelId = ({ channelId }: Notified): string => channelId;
const toCalendarId = (id: string): CalendarId => calendarId(fromStoredText(id));

type Pending = Pick<StoredCalendar, "id" | "pending_since" | "pending_due_at" | "pending_class"> & {
  readonly queued_until: number | null;
};

/** A mark at least as urgent as a notification's, which no refresh has begun to serve. */
function isMarked(row: Pending): boolean {
  const { pending_since: since, pending_due_at: dueAt, pending_class: rank } = row;
  return since !== null && dueAt !== null && rank !== null && rank <= PUSH;
}

function isEarly(row: Pending, { now, debounce }: NotifiedHow): boolean {
  if (row.pending_since === null || row.pending_due_at === null) return false;
  if (row.pending_class !== PUSH || (row.queued_until ?? 0) > now) return false;
  const dueAt = Math.min(row.pending_since + debounce.mostMs, now + debounce.quietMs);
  return dueAt - row.pending_due_at >= Math.max(1, debounce.quietMs * STEP);
}

interface Later {
  readonly now: RawBuilder<unknown>;
  readonly dueAt: RawBuilder<unknown>;
  readonly isDebounced: RawBuilder<unknown>;
  readonly isLater: RawBuilder<unknown>;
  readonly isMovable: RawBuilder<unknown>;
}

function laterThan({ now: nowMs, debounce }: NotifiedHow): Later {
  // Postgres does not know the type of a bare parameter within a CASE.
  const now = sql`cast(${nowMs} as bigint)`;
  const quiet = sql`cast(${nowMs + debounce.quietMs} as bigint)`;
  const latest = sql`pending_since + ${debounce.mostMs}`;
  const dueAt = sql`case when ${latest} < ${quiet} then ${latest} else ${quiet} end`;
  const isDebounced = sql`(pending_since is not null and pending_class = ${sql.lit(PUSH)}
    and pending_due_at is not null)`;
  const isLater = sql`(${isDebounced} and ${dueAt} > pending_due_at)`;
  // Queued already, it would not begin, and nobody else could claim it.
  const isMovable = sql`(${isLater} and due_at = pending_due_at and due_class = ${sql.lit(PUSH)}
    and coalesce(${queuedUntilOf("calendars")}, 0) <= ${now})`;
  return { now, dueAt, isDebounced, isLater, isMovable };
}

/** What is decided from the row as the transaction finds it, not as it was read before. */
function markOf(how: NotifiedHow): Record<string, RawBuilder<unknown>> {
  const { now, dueAt, isDebounced, isLater, isMovable } = laterThan(how);
  // A slowed calendar waits its time out: else each notification would bring the loop back.
  const isSooner = sql`(slowed_reason is null and (due_at is null or ${dueAt} < due_at))`;
  return {
    requested: sql`requested + 1`,
    notified_at: now,
    unserved_since: sql`coalesce(unserved_since, ${now})`,
    pending_since: sql`coalesce(pending_since, ${now})`,
    pending_due_at: sql`case when pending_due_at is null or ${isLater} or ${dueAt} < pending_due_at
      and not ${isDebounced} then ${dueAt} else pending_due_at end`,
    pending_class: sql`case when pending_class is null or pending_class > ${sql.lit(PUSH)}
      then ${sql.lit(PUSH)} else pending_class end`,
    due_at: sql`case when lost_reason is not null then null
      when ${isMovable} or ${isSooner} then ${dueAt} else due_at end`,
    due_class: sql`case when due_class > ${sql.lit(PUSH)} or (${isSooner} and due_reason = 'poll')
      then ${sql.lit(PUSH)} else due_class end`,
    due_reason: sql`case when ${isSooner} then 'requested' else due_reason end`,
  };
}
