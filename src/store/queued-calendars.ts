import { sql, type RawBuilder } from "kysely";
import type { Database, Trx } from "./database.ts";
import { noteDue, type NotedRow } from "./due-tenants.ts";

/*
 * Marks of calendars that were claimed and whose refresh has not begun: absent → queued (hidden from claims) →
 * absent (begun, published, postponed) or run out, and then it is claimable without anybody's doing. A small
 * table of its own: a claim of 500 wide rows of `calendars`, each in half a dozen indexes, took five times as
 * long. A claim does not lock the calendars, so a mark may be made for one that has just been refreshed; the
 * job that it led to finds nothing due and takes the mark back.
 */

/** A person is not kept waiting by a background job that waits: such a mark does not hide what they asked for. */
const PERSONS = 0;

/** How soon a calendar is claimable again after its job found nothing due: not at once, as clocks differ. */
const TAKE_BACK_MS = 1_000;

/** A moment until which the calendar `number` is queued, null unless it is hidden by that from claims of its class. */
export function queuedUntilOf(table: "calendars" | "c"): RawBuilder<number | null> {
  return sql<number | null>`(select q.queued_until from queued_calendars as q
    where q.calendar_number = ${sql.ref(`${table}.number`)}
      and (q.due_class = ${sql.lit(PERSONS)} or ${sql.ref(`${table}.due_class`)} > ${sql.lit(PERSONS)}))`;
}

/** A condition over `number`: it is not queued as what a claim of this class looks for. Read once a statement. */
export function isNotQueued(due: {
  readonly classRank: number;
  readonly now: number;
}): RawBuilder<unknown> {
  const hides = due.classRank === PERSONS ? sql`and due_class = ${sql.lit(PERSONS)}` : sql``;
  return sql`number not in (select calendar_number from queued_calendars
    where queued_until > ${due.now} ${hides})`;
}

/** How many each tenant has queued. Those that ran out are forgotten first. */
export async function countQueued(trx: Trx, now: number): Promise<Map<string, number>> {
  await trx.deleteFrom("queued_calendars").where("queued_until", "<=", now).execute();
  const rows = await trx
    .selectFrom("queued_calendars")
    .select(["tenant_id", sql<number>`count(*)`.as("count")])
    .where("queued_until", ">", now)
    .groupBy("tenant_id")
    .execute();
  return new Map(rows.map((row) => [row.tenant_id, row.count]));
}

/** Hide these from other claims until then. */
export async function markQueued(
  { database, trx }: { readonly database: Database; readonly trx: Trx },
  rows: readonly { readonly number: number; readonly tenant_id: string }[],
  mark: { readonly classRank: number; readonly until: number },
): Promise<void> {
  if (rows.length === 0) return;
  const source = database.dialect.rowsFrom(
    rows.map(({ number, tenant_id }) => ({ number, tenant_id })),
    { number: "bigint", tenant_id: "text" },
  );
  await sql`
    insert into queued_calendars (calendar_number, tenant_id, due_class, queued_until)
    select r.number, r.tenant_id, cast(${mark.classRank} as bigint), cast(${mark.until} as bigint)
    from ${source} where true
    on conflict (calendar_number) do update set
      due_class = excluded.due_class, queued_until = excluded.queued_until`.execute(trx);
}

/** A calendar as it is now. */
interface Unmarked extends NotedRow {
  readonly number: number;
}

/** Its refresh has begun or ended: nothing hides it but its due time. */
export async function unmarkQueued(trx: Trx, row: Unmarked): Promise<void> {
  const mark = await forgetQueued(trx, row.number);
  if (mark !== undefined && mark.queued_until > (row.due_at ?? Infinity)) await noteDue(trx, row);
}

/** As above, of a calendar that is due no more. */
export function forgetQueued(
  trx: Trx,
  number: number,
): Promise<{ readonly queued_until: number } | undefined> {
  return trx
    .deleteFrom("queued_calendars")
    .where("calendar_number", "=", number)
    .returning("queued_until")
    .executeTakeFirst();
}

/** The job that a mark stands for found nothing due. */
export async function takeBackMark(trx: Trx, row: Unmarked, now: number): Promise<void> {
  const shortened = await trx
    .updateTable("queued_calendars")
    .set({ queued_until: now + TAKE_BACK_MS })
    .where("calendar_number", "=", row.number)
    .where("queued_until", ">", now + TAKE_BACK_MS)
    .returning("calendar_number")
    .executeTakeFirst();
  if (shortened !== undefined) await noteDue(trx, row);
}
