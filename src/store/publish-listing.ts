import { sql, type RawBuilder } from "kysely";
import type {
  Publication,
  PublishedChanges,
  PublishResult,
  RefreshKind,
  RefreshLease,
} from "../core/refresh-store.ts";
import type { Mirror } from "./busy-mirror.ts";
import type { Database, Trx } from "./database.ts";
import { toEventRows } from "./event-columns.ts";
import { moveMarks } from "./move-marks.ts";
import {
  changesOfPublish,
  MOST_NAMED_CHANGES,
  noteChanges,
  type EventChanges,
} from "./note-changes.ts";
import { noteRefresh } from "./refresh-history.ts";
import {
  columnsOf,
  EVENT_COLUMNS,
  holdCalendar,
  storePortions,
  TAKE_NEW,
  writeRows,
  type HeldCalendar,
} from "./stage-page.ts";

interface PublishDeps {
  readonly database: Database;
  readonly mirror: Mirror;
}

/**
 * I4: the differences, the absences, the generation, the sync token and the fingerprint move in one
 * transaction. What was fetched is written beside the published copy first, in portions, so that
 * this transaction only compares and copies inside the database.
 */
export async function publishListing(
  deps: PublishDeps,
  lease: RefreshLease,
  publication: Publication,
): Promise<PublishResult> {
  const { database } = deps;
  const rows = toEventRows(publication.items, deps.mirror);
  const { isFirst } = publication;
  const rest = await storePortions(deps, { lease, rows, isFirst });
  if (rest === "fenced-out") return { kind: "fenced-out" };
  return database.write(async (trx) => {
    const held = await holdCalendar(database, trx, lease);
    if (held === undefined) return { kind: "fenced-out" };
    const named: EventChanges = { created: [], updated: [], deleted: [] };
    const place = { database, trx, held, named };
    await writeRows(place, rest);
    const isEmptyDelta = isFirst && rows.length === 0 && publication.kind === "incremental";
    const changes = isEmptyDelta ? NO_CHANGES : await applyListing(place, publication.kind);
    const hasChanged = changes.inserted + changes.updated + changes.deleted > 0;
    const generation = hasChanged || held.generation === 0 ? held.generation + 1 : held.generation;
    await moveMarks(trx, held, { publication, generation });
    if (publication.run !== undefined) {
      const { inserted, updated, deleted } = changes;
      const past = { ...publication.run, changes: inserted + updated + deleted };
      await noteRefresh(trx, { number: held.number, fence: lease.fence }, past);
    }
    if (generation !== held.generation && held.is_shadow === 0) {
      const feed = { ...placeInFeed(held), generation, at: publication.now };
      await noteChanges(database, trx, changesOfPublish(feed, named));
    }
    return { kind: "published", generation, changes };
  });
}

interface Place {
  readonly database: Database;
  readonly trx: Trx;
  readonly held: HeldCalendar;
  /** What has been changed so far, for the feed. */
  readonly named: EventChanges;
}

function placeInFeed(held: HeldCalendar): {
  readonly tenantId: string;
  readonly accountId: string;
  readonly calendarId: string;
  readonly wasPublished: boolean;
} {
  const { id: calendarId, tenant_id: tenantId, account_id: accountId, generation } = held;
  return { tenantId, accountId, calendarId, wasPublished: generation > 0 };
}

const NO_CHANGES: PublishedChanges = { inserted: 0, updated: 0, deleted: 0 };

function applyListing(place: Place, kind: RefreshKind): Promise<PublishedChanges> {
  return place.held.generation === 0 ? applyFirstListing(place) : mergeStaged(place, kind);
}

/** The rows are in place already: drop what is no event, count the rest. */
async function applyFirstListing(place: Place): Promise<PublishedChanges> {
  const { trx, held } = place;
  await deleteEvents(place, sql`status = 'cancelled' and recurring_event_key is null`);
  await deleteUnhiddenTombstones(place);
  const { count } = await trx
    .selectFrom("events")
    .select(sql<number>`count(*)`.as("count"))
    .where("calendar_number", "=", held.number)
    .executeTakeFirstOrThrow();
  return { ...NO_CHANGES, inserted: count };
}

/*
 * Lookups are scalar subqueries on purpose: both databases then take one index step a row. Written
 * as joins, Postgres, which knows little of a calendar just filled, read the whole calendar for each.
 */

/** Compare and copy inside the database. What is deleted first decides which exceptions may stay. */
async function mergeStaged(place: Place, kind: RefreshKind): Promise<PublishedChanges> {
  const { trx } = place;
  const { number } = place.held;
  const staged = await countStaged(trx, number);
  let deleted = 0;
  if (staged.deletions > 0) deleted += await deleteCancelled(place);
  if (kind === "full") deleted += await deleteEvents(place, isAbsent);
  const living = await upsert(place, sql`s.status is distinct from 'cancelled'`);
  let hidden: Upserts = { inserted: 0, updated: 0 };
  if (staged.hides > 0) {
    deleted += await deleteHiddenOfNoSeries(place);
    hidden = await upsert(place, sql`s.status = 'cancelled' and ${hasSeries("s")}`);
  }
  if (staged.total > 0 || kind === "full") deleted += await deleteUnhiddenTombstones(place);
  await trx.deleteFrom("staged_events").where("calendar_number", "=", number).execute();
  return {
    inserted: living.inserted + hidden.inserted,
    updated: living.updated + hidden.updated,
    deleted,
  };
}

interface StagedCounts {
  readonly total: number;
  /** Cancelled, and not the exception of a series. */
  readonly deletions: number;
  /** Cancelled exceptions. */
  readonly hides: number;
}

async function countStaged(trx: Trx, number: number): Promise<StagedCounts> {
  const { rows } = await sql<StagedCounts>`
    select count(*) as total,
      count(case when status = 'cancelled' and recurring_event_key is null then 1 end) as deletions,
      count(case when status = 'cancelled' and recurring_event_key is not null then 1 end) as hides
    from staged_events where calendar_number = ${number}`.execute(trx);
  return rows[0] ?? { total: 0, deletions: 0, hides: 0 };
}

/** Cancelled events, and the exceptions of such that this listing does not hold uncancelled. */
async function deleteCancelled(place: Place): Promise<number> {
  const { trx } = place;
  const { number } = place.held;
  const isHeld = sql`exists (select 1 from staged_events as s
    where s.calendar_number = ${number} and s.event_key = events.event_key
      and s.status is distinct from 'cancelled')`;
  const isDeletion = sql`status = 'cancelled' and recurring_event_key is null`;
  let deleted = 0;
  for (const keys of await stagedKeys(trx, number, isDeletion)) {
    deleted += await deleteEvents(place, sql`event_key in (${keys})`);
    const isException = sql`recurring_event_key in (${keys}) and not ${isHeld}`;
    deleted += await deleteEvents(place, isException);
  }
  return deleted;
}

async function deleteHiddenOfNoSeries(place: Place): Promise<number> {
  const { trx } = place;
  const { number } = place.held;
  const hidesNothing = sql`status = 'cancelled' and recurring_event_key is not null
    and not ${hasSeries("s")}`;
  let deleted = 0;
  for (const keys of await stagedKeys(trx, number, hidesNothing)) {
    deleted += await deleteEvents(place, sql`event_key in (${keys})`);
  }
  return deleted;
}

/** The staged keys of a condition over `s`, as lists short enough for one statement. */
async function stagedKeys(
  trx: Trx,
  number: number,
  condition: RawBuilder<unknown>,
): Promise<readonly RawBuilder<unknown>[]> {
  const { rows } = await sql<{ event_key: string }>`
    select event_key from staged_events as s
    where calendar_number = ${number} and ${condition}`.execute(trx);
  const lists: RawBuilder<unknown>[] = [];
  for (let from = 0; from < rows.length; from += KEYS_PER_STATEMENT) {
    const keys = rows.slice(from, from + KEYS_PER_STATEMENT).map((row) => sql`${row.event_key}`);
    lists.push(sql.join(keys));
  }
  return lists;
}

const KEYS_PER_STATEMENT = 200;

const isAbsent = sql`(select 1 from staged_events as s
  where s.calendar_number = events.calendar_number and s.event_key = events.event_key) is null`;

/** The series that a row belongs to is stored and recurs. */
function hasSeries(table: "s" | "events"): RawBuilder<unknown> {
  return sql`coalesce((select master.kind from events as master
    where master.calendar_number = ${sql.ref(`${table}.calendar_number`)}
      and master.event_key = ${sql.ref(`${table}.recurring_event_key`)}), '') = 'master'`;
}

/** A cancelled exception hides an instance of a living series; without one it is a deletion. */
function deleteUnhiddenTombstones(place: Place): Promise<number> {
  return deleteEvents(place, sql`status = 'cancelled' and not ${hasSeries("events")}`);
}

async function deleteEvents(
  { trx, held, named }: Place,
  condition: RawBuilder<unknown>,
): Promise<number> {
  const { rows } = await sql<{ event_key: string }>`
    delete from events where calendar_number = ${held.number} and (${condition})
    returning event_key`.execute(trx);
  addKeys(named.deleted, rows);
  return rows.length;
}

/** As many as are worth naming, and one that says that there were more. */
function addKeys(keys: string[], rows: readonly { readonly event_key: string }[]): void {
  for (const { event_key: key } of rows) {
    if (keys.length > MOST_NAMED_CHANGES) return;
    keys.push(key);
  }
}

type Upserts = Pick<PublishedChanges, "inserted" | "updated">;

/**
 * Write the staged events of `condition` that differ from the published copy, and only those. In the one
 * transaction of the publish, but a stretch of keys at a time: SQLite works within the event loop, and a
 * large calendar must not hold it up from its first event to its last.
 */
async function upsert(place: Place, condition: RawBuilder<unknown>): Promise<Upserts> {
  const { trx } = place;
  const { number } = place.held;
  const total = { inserted: 0, updated: 0 };
  let after = "";
  for (;;) {
    const upTo = await endOfStretch(trx, number, after);
    const ends = upTo === undefined ? sql`true` : sql`s.event_key <= ${upTo}`;
    const stretch = sql`s.event_key > ${after} and ${ends} and ${condition}`;
    const written = await upsertStretch(place, stretch);
    total.inserted += written.inserted;
    total.updated += written.updated;
    if (upTo === undefined) return total;
    after = upTo;
  }
}

const KEYS_PER_STRETCH = 500;

/** The last key of the next full stretch; undefined: what is left is less than one. */
async function endOfStretch(trx: Trx, number: number, after: string): Promise<string | undefined> {
  const { rows } = await sql<{ event_key: string }>`
    select event_key from staged_events
    where calendar_number = ${number} and event_key > ${after}
    order by event_key limit 1 offset ${sql.lit(KEYS_PER_STRETCH - 1)}`.execute(trx);
  return rows[0]?.event_key;
}

async function upsertStretch(
  { trx, held, named }: Place,
  condition: RawBuilder<unknown>,
): Promise<Upserts> {
  const { number } = held;
  // A body is staged where the version differs or there is none; then the bodies are compared.
  const { rows: updated } = await sql<{ event_key: string }>`
    select s.event_key from staged_events as s
    where s.calendar_number = ${number} and s.raw is not null and ${condition}
      and coalesce((
        select s.version is distinct from e.version or s.raw <> e.raw from events as e
        where e.calendar_number = s.calendar_number and e.event_key = s.event_key
      ), false)`.execute(trx);
  const { rows: written } = await sql<{ event_key: string }>`
    insert into events (calendar_number, ${EVENT_COLUMNS}, raw)
    select s.calendar_number, ${columnsOf("s")}, s.raw from staged_events as s
    where s.calendar_number = ${number} and s.raw is not null and ${condition}
    on conflict (calendar_number, event_key) do update set ${TAKE_NEW}, raw = excluded.raw
      where excluded.version is distinct from events.version or excluded.raw <> events.raw
    returning event_key`.execute(trx);
  const known = new Set(updated.map(({ event_key: key }) => key));
  addKeys(named.updated, updated);
  addKeys(
    named.created,
    written.filter(({ event_key: key }) => !known.has(key)),
  );
  return { updated: known.size, inserted: written.length - known.size };
}
