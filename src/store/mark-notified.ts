import { sql, type RawBuilder } from "kysely";
import type { Debounce, Notified } from "../core/channel-store.ts";
import { calendarId, type CalendarId } from "../core/ids.ts";
import { rankOfClass, type StoredCalendar } from "./calendar-rows.ts";
import type { Database } from "./database.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

const PUSH = rankOfClass("push");
/** A mark's due time is moved in steps of this part of the quiet time, so that a surge does not write for each notification. */
const STEP = 0.25;

/**
 * I6: after this every refresh that begins serves these notifications. Read first: a mark that stands and
 * that no refresh has begun to serve (`pending_since`, cleared when one begins) holds for what is notified
 * now as well, and then nothing is written unless its due time has to move.
 */
export async function markNotified(
  database: Database,
  notified: readonly Notified[],
  how: { readonly now: number; readonly debounce: Debounce },
): Promise<readonly CalendarId[]> {
  const channelsOf = new Map<string, string[]>();
  for (const { calendarId: calendar, channelId } of notified) {
    const id = toStoredText(calendar);
    channelsOf.set(id, [...(channelsOf.get(id) ?? []), channelId]);
  }
  const rows = await database.read((db) =>
    db
      .selectFrom("calendars")
      .select(["id", "pending_since", "pending_due_at", "pending_class", "queued_until"])
      .where("id", "in", [...channelsOf.keys()])
      .execute(),
  );
  // In one order everywhere, so that two processes do not hold each other up.
  const ids = rows
    .filter((row) => mustWrite(row, how))
    .map(({ id }) => id)
    .toSorted();
  if (ids.length === 0) return [];
  await database.write(async (trx) => {
    await trx
      .selectFrom("calendars")
      .select("number")
      .where("id", "in", ids)
      .orderBy("id")
      .modifyEnd(database.dialect.forUpdate)
      .execute();
    await trx.updateTable("calendars").set(markOf(how)).where("id", "in", ids).execute();
    const channels = ids.flatMap((id) => channelsOf.get(id) ?? []);
    await trx
      .updateTable("channels")
      .set({ last_message_at: how.now })
      .where("id", "in", channels)
      .execute();
  });
  return ids.map((id) => calendarId(fromStoredText(id)));
}

type Pending = Pick<
  StoredCalendar,
  "pending_since" | "pending_due_at" | "pending_class" | "queued_until"
>;

function mustWrite(
  row: Pending,
  { now, debounce }: { readonly now: number; readonly debounce: Debounce },
): boolean {
  if (row.pending_since === null || row.pending_class === null || row.pending_due_at === null) {
    return true;
  }
  if (row.pending_class > PUSH) return true;
  if (row.pending_class < PUSH) return false;
  if (row.queued_until !== null && row.queued_until > now) return false;
  const dueAt = Math.min(row.pending_since + debounce.mostMs, now + debounce.quietMs);
  return dueAt - row.pending_due_at >= Math.max(1, debounce.quietMs * STEP);
}

/** What is decided from the row as the transaction finds it, not as it was read before. */
function markOf({
  now: nowMs,
  debounce,
}: {
  readonly now: number;
  readonly debounce: Debounce;
}): Record<string, RawBuilder<unknown>> {
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
    and (queued_until is null or queued_until <= ${now}))`;
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
