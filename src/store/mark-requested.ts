import { sql, type RawBuilder } from "kysely";
import type { RefreshRequest, RequestOutcome } from "../core/calendar-store.ts";
import { rankOfClass } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { toStoredText } from "./stored-text.ts";

/*
 * Marks: `requested` rises with a wish, and the row falls due. A mark that no refresh has begun to
 * serve (`pending_since` is set: `begin` clears it) stands for whoever asks after it, too.
 */

const INTERACTIVE = rankOfClass("interactive");
const BACKFILL = rankOfClass("backfill");

interface Marked {
  readonly id: string;
  readonly requested: number;
  readonly lost_reason: string | null;
  readonly account_state: string;
}

interface Pending extends Marked {
  readonly pending_since: number | null;
  readonly pending_due_at: number | null;
  readonly pending_class: number | null;
  readonly due_at: number | null;
  readonly due_class: number;
  readonly slowed_reason: string | null;
}

/** Raise the mark of each, whatever marks there are; those that have no row are absent from the answer. */
export async function markRequested(
  { database, now }: { readonly database: Database; readonly now: number },
  requests: readonly RefreshRequest[],
): Promise<readonly RequestOutcome[]> {
  const marked = await database.write((trx) => raiseMarks({ database, trx, now }, requests));
  return answer(requests, marked);
}

/** Raise the marks of those that have none which no refresh has begun to serve (I6); a read tells which. */
export async function markUnlessPending(
  { database, now }: { readonly database: Database; readonly now: number },
  requests: readonly RefreshRequest[],
): Promise<readonly RequestOutcome[]> {
  const seen = await database.read((db) => pendingOf(requests).execute(db));
  // Begun after this read at the earliest, so after these requests came: that refresh sees what they want seen.
  const covered = coveredBy(seen.rows, requests);
  const uncovered = requests.filter(({ calendarId: id }) => !covered.has(toStoredText(id)));
  const known = new Set(seen.rows.map(({ id }) => id));
  const writable = uncovered.filter(({ calendarId: id }) => known.has(toStoredText(id)));
  if (writable.length === 0) return answer(requests, [...covered.values()]);
  const marked = await database.write(async (trx) => {
    // In one order, so that two who mark the same rows wait for each other and do not lock each other out.
    const locked = await sql<Pending>`${pendingOf(writable)} order by id ${
      database.dialect.forUpdate
    }`.execute(trx);
    const meanwhile = coveredBy(locked.rows, writable);
    const rest = writable.filter(({ calendarId: id }) => !meanwhile.has(toStoredText(id)));
    return [...meanwhile.values(), ...(await raiseMarks({ database, trx, now }, rest))];
  });
  return answer(requests, [...covered.values(), ...marked]);
}

function pendingOf(requests: readonly RefreshRequest[]): RawBuilder<Pending> {
  const ids = requests.map(({ calendarId: id }) => toStoredText(id));
  return sql<Pending>`select id, requested, lost_reason, account_state, pending_since, pending_due_at,
    pending_class, due_at, due_class, slowed_reason from calendars where id in (${sql.join(ids)})`;
}

function coveredBy(
  rows: readonly Pending[],
  requests: readonly RefreshRequest[],
): ReadonlyMap<string, Pending> {
  const byId = new Map(rows.map((row) => [row.id, row]));
  const covered = new Map<string, Pending>();
  for (const request of requests) {
    const row = byId.get(toStoredText(request.calendarId));
    if (row !== undefined && isCovered(row, request)) covered.set(row.id, row);
  }
  return covered;
}

/** Whether another mark would change nothing about this row but its number. */
function isCovered(row: Pending, request: RefreshRequest): boolean {
  const rank = rankOfClass(request.class);
  // A running refresh may be the full one that `full_mark` asked for: a new wish is always written.
  if (row.pending_since === null || request.mode === "full") return false;
  if (row.pending_class === null || row.pending_class > rank) return false;
  if (row.pending_due_at === null || row.pending_due_at > request.dueAt) return false;
  if (!isRefreshable(row)) return true;
  if (row.slowed_reason !== null) return !mayLift(rank);
  return row.due_class <= rank && row.due_at !== null && row.due_at <= request.dueAt;
}

function mayLift(rank: number): boolean {
  return rank === INTERACTIVE || rank === BACKFILL;
}

function isRefreshable(row: Marked): boolean {
  return row.lost_reason === null && row.account_state === "connected";
}

async function raiseMarks(
  deps: { readonly database: Database; readonly trx: Trx; readonly now: number },
  requests: readonly RefreshRequest[],
): Promise<readonly Marked[]> {
  if (requests.length === 0) return [];
  const { database, trx, now } = deps;
  const source = database.dialect.rowsFrom(
    requests.map((request) => ({
      wished_id: toStoredText(request.calendarId),
      wished_class: rankOfClass(request.class),
      wished_at: request.dueAt,
      wished_full: request.mode === "full" ? 1 : 0,
    })),
    { wished_id: "text", wished_class: "bigint", wished_at: "bigint", wished_full: "bigint" },
  );
  const isLifting = sql`(wished_class = ${sql.lit(INTERACTIVE)} or wished_class = ${sql.lit(BACKFILL)})`;
  // A slowed calendar waits its time out: else each notification would bring the loop back.
  const isSooner = sql`((due_at is null or wished_at < due_at)
    and (${isLifting} or slowed_reason is null))`;
  const isPerson = sql`wished_class = ${sql.lit(INTERACTIVE)}`;
  // A row that only waits for its next poll has no class of its own to keep: a backfill that comes earlier
  // must not be paid for as a poll. A lost calendar is not due until its account's list holds it again.
  const { rows } = await sql<Marked>`update calendars set
      requested = requested + 1,
      full_mark = case when wished_full = 1 then requested + 1 else full_mark end,
      unserved_since = coalesce(unserved_since, ${now}),
      pending_since = coalesce(pending_since, ${now}),
      pending_due_at = case when pending_due_at is null or wished_at < pending_due_at
        then wished_at else pending_due_at end,
      pending_class = case when pending_class is null or wished_class < pending_class
        then wished_class else pending_class end,
      due_class = case when due_class > wished_class or (${isSooner} and due_reason = 'poll')
        then wished_class else due_class end,
      due_reason = case when ${isSooner} then 'requested' else due_reason end,
      due_at = case when lost_reason is not null then null
        when ${isSooner} then wished_at else due_at end,
      slowed_reason = case when ${isPerson} then null else slowed_reason end
    from ${source} where id = wished_id
    returning id, requested, lost_reason, account_state`.execute(trx);
  return rows;
}

function answer(
  requests: readonly RefreshRequest[],
  marked: readonly Marked[],
): readonly RequestOutcome[] {
  const byId = new Map(marked.map((row) => [row.id, row]));
  return requests.map(({ calendarId: id }) => {
    const row = byId.get(toStoredText(id));
    if (row === undefined || row.account_state === "removed") return { kind: "unknown-calendar" };
    if (!isRefreshable(row)) return { kind: "not-refreshable" };
    return { kind: "marked", mark: row.requested };
  });
}
