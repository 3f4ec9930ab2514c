import { sql } from "kysely";
import type { RefreshLease, StagedPage } from "../core/refresh-store.ts";
import type { Mirror } from "./busy-mirror.ts";
import type { StoredCalendar } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { EVENT_ROW_TYPES, toEventRows, type EventRow } from "./event-columns.ts";
import { toStoredText } from "./stored-text.ts";

/** Rows written in one transaction where a page may be stored in portions. */
export const PORTION_ROWS = 500;

/** The row that a lease still holds. */
export type HeldCalendar = Readonly<Pick<StoredCalendar, (typeof HELD)[number]>>;

const HELD = [
  "number",
  "id",
  "tenant_id",
  "account_id",
  "generation",
  "is_shadow",
  "published_at",
  "watch_state",
  "watch_silent_at",
  "last_read_at",
] as const;

interface StageDeps {
  readonly database: Database;
  readonly mirror: Mirror;
}

/** I7: undefined when a newer lease was taken; otherwise nobody can take one before this commits. */
export async function holdCalendar(
  database: Database,
  trx: Trx,
  lease: RefreshLease,
): Promise<HeldCalendar | undefined> {
  return trx
    .selectFrom("calendars")
    .select(HELD)
    .where("id", "=", toStoredText(lease.calendarId))
    .where("fence", "=", lease.fence)
    .modifyEnd(database.dialect.forUpdate)
    .executeTakeFirst();
}

/**
 * Store one page in portions. The page token moves with the last portion: after a crash in between
 * the page is asked for again, and its rows are written over.
 */
export async function stageListingPage(
  deps: StageDeps,
  lease: RefreshLease,
  page: StagedPage,
): Promise<"staged" | "fenced-out"> {
  const rows = toEventRows(page.items, deps.mirror);
  const first = { isFirst: page.isFirst };
  const rest = await storePortions(deps, { lease, rows, ...first });
  if (rest === "fenced-out") return "fenced-out";
  return deps.database.write(async (trx) => {
    const held = await holdCalendar(deps.database, trx, lease);
    if (held === undefined) return "fenced-out";
    await writeRows({ database: deps.database, trx, held }, rest);
    await trx
      .updateTable("calendars")
      .set({
        listing_kind: page.kind,
        listing_page_token: toStoredText(page.nextPageToken),
        listing_started_at: page.startedAt,
        listing_pages: page.isFirst ? 1 : sql`listing_pages + 1`,
        listing_fingerprint: page.fingerprint,
        listing_requested: page.requestedAtStart,
        // The time at which a dead holder's row is due moves along, a request's own does not.
        due_at: sql`case when due_at = lease_until then ${page.leaseUntil} else due_at end`,
        lease_until: page.leaseUntil,
      })
      .where("number", "=", held.number)
      .execute();
    return "staged";
  });
}

/**
 * Write all but the last portion, each in a transaction of its own, after dropping what an abandoned
 * listing left. Returns the rows of the last one, for the transaction that moves the marks.
 */
export async function storePortions(
  deps: StageDeps,
  listing: {
    readonly lease: RefreshLease;
    readonly rows: readonly EventRow[];
    readonly isFirst: boolean;
  },
): Promise<readonly EventRow[] | "fenced-out"> {
  const { database } = deps;
  const { lease, rows } = listing;
  if (listing.isFirst && (await hasAbandoned(database, lease))) {
    if ((await dropAbandoned(database, lease)) === "fenced-out") return "fenced-out";
  }
  let from = 0;
  for (; rows.length - from > PORTION_ROWS; from += PORTION_ROWS) {
    const portion = rows.slice(from, from + PORTION_ROWS);
    const isHeld = await database.write(async (trx) => {
      const held = await holdCalendar(database, trx, lease);
      if (held !== undefined) await writeRows({ database, trx, held }, portion);
      return held !== undefined;
    });
    if (!isHeld) return "fenced-out";
  }
  return rows.slice(from);
}

// Read outside of the transaction that writes: nobody but the lease's holder adds rows here.
async function hasAbandoned(database: Database, lease: RefreshLease): Promise<boolean> {
  const { rows } = await database.read((db) =>
    sql`
      select 1 from calendars as c
      where c.id = ${lease.calendarId} and case when c.generation = 0
        then exists (select 1 from events as e where e.calendar_number = c.number)
        else exists (select 1 from staged_events as s where s.calendar_number = c.number) end
    `.execute(db),
  );
  return rows.length > 0;
}

async function dropAbandoned(
  database: Database,
  lease: RefreshLease,
): Promise<"dropped" | "fenced-out"> {
  for (;;) {
    const left = await database.write(async (trx) => {
      const held = await holdCalendar(database, trx, lease);
      if (held === undefined) return "fenced-out";
      const { rows } = await sql`
        delete from ${sql.table(targetOf(held))} where calendar_number = ${held.number}
          and event_key in (
            select event_key from ${sql.table(targetOf(held))}
            where calendar_number = ${held.number} limit ${sql.lit(PORTION_ROWS)})
        returning 1`.execute(trx);
      if (rows.length > 0) {
        // The pages are gone, so the page token that follows them must not be used.
        await trx
          .updateTable("calendars")
          .set({ listing_kind: null, listing_page_token: null })
          .where("number", "=", held.number)
          .execute();
      }
      return rows.length;
    });
    if (left === "fenced-out") return "fenced-out";
    if (left < PORTION_ROWS) return "dropped";
  }
}

/** A copy never published is invisible, so its pages need no place beside it. */
function targetOf(held: HeldCalendar): "events" | "staged_events" {
  return held.generation === 0 ? "events" : "staged_events";
}

/** Write a page's rows where this calendar's listing is collected. */
export async function writeRows(
  place: { readonly database: Database; readonly trx: Trx; readonly held: HeldCalendar },
  rows: readonly EventRow[],
): Promise<void> {
  if (rows.length === 0) return;
  const { database, trx, held } = place;
  const source = database.dialect.rowsFrom(rows, EVENT_ROW_TYPES);
  await (held.generation === 0
    ? sql`
        insert into events (calendar_number, ${EVENT_COLUMNS}, raw)
        select ${held.number}, ${EVENT_COLUMNS}, raw from ${source} where true
        on conflict (calendar_number, event_key) do update set ${TAKE_NEW}, raw = excluded.raw
      `.execute(trx)
    : sql`
        insert into staged_events (calendar_number, ${EVENT_COLUMNS}, raw)
        select ${held.number}, ${columnsOf("r")},
          case when r.version = (
            select e.version from events as e
            where e.calendar_number = ${held.number} and e.event_key = r.event_key
          ) then null else r.raw end
        from ${source} where true
        on conflict (calendar_number, event_key) do update set ${TAKE_NEW}, raw = excluded.raw
      `.execute(trx));
}

const COLUMN_NAMES = Object.keys(EVENT_ROW_TYPES).filter((name) => name !== "raw");

/** The columns of an event but its calendar and its body. */
export const EVENT_COLUMNS = sql.join(COLUMN_NAMES.map((name) => sql.ref(name)));

/** The same, of one table of a join. */
export function columnsOf(table: string): ReturnType<typeof sql.join> {
  return sql.join(COLUMN_NAMES.map((name) => sql.ref(`${table}.${name}`)));
}

/** `set` of an upsert: every column but the key from the new row. */
export const TAKE_NEW = sql.join(
  COLUMN_NAMES.filter((name) => name !== "event_key").map(
    (name) => sql`${sql.ref(name)} = ${sql.ref(`excluded.${name}`)}`,
  ),
);
