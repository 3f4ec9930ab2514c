import { sql, type RawBuilder } from "kysely";
import { epochMs } from "../core/clock.ts";
import type {
  CalendarFacts,
  EventsQuery,
  EventsRead,
  EventStore,
  Freshness,
} from "../core/event-store.ts";
import type { GoogleEvent } from "../core/google-event.ts";
import { calendarId, tenantId } from "../core/ids.ts";
import { momentOf, stateOf, stateReasonOf, type StoredCalendar } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { OPEN_ENDED_MS } from "./series-end.ts";
import {
  fromStoredText,
  fromStoredTextOrUndefined,
  isEscaped,
  toStoredText,
} from "./stored-text.ts";

const MAX_PAGE = 2_500;
const MAX_FACTS = 1_000;

/** What is being removed, and what is mirrored only to be compared, is to a reader not there (I11). */
const isServed = sql<boolean>`(account_state <> 'removed' and is_shadow = 0)`;

/** The published copies, read. */
export function createEventStore(deps: { readonly database: Database }): EventStore {
  return {
    readEvents: (id, query, now) =>
      // One snapshot: the freshness that is told belongs to the events that are shown.
      deps.database.snapshot(async (trx): Promise<EventsRead> => {
        const calendar = await trx
          .selectFrom("calendars")
          .selectAll()
          .where("id", "=", toStoredText(id))
          .where(isServed)
          .executeTakeFirst();
        if (calendar === undefined) return { kind: "unknown-calendar" };
        const freshness = toFreshness(calendar, now);
        // I4: before the first publish the table holds a part of a listing, which is nobody's business.
        if (calendar.generation === 0) {
          return { kind: "events", freshness, events: [], next: undefined };
        }
        return { kind: "events", freshness, ...(await readPage(trx, calendar.number, query)) };
      }),
    async readFacts(ids, now) {
      if (ids.length === 0) return [];
      const rows = await deps.database.read((db) =>
        db
          .selectFrom("calendars")
          .selectAll()
          .where("id", "in", ids.slice(0, MAX_FACTS).map(toStoredText))
          .where(isServed)
          .execute(),
      );
      return rows.map((row) => toFacts(row, now));
    },
  };
}

function toFacts(calendar: StoredCalendar, now: number): CalendarFacts {
  return {
    calendarId: calendarId(calendar.id),
    tenantId: tenantId(fromStoredText(calendar.tenant_id)),
    timeZone: fromStoredTextOrUndefined(calendar.time_zone),
    freshness: toFreshness(calendar, now),
  };
}

function toFreshness(calendar: StoredCalendar, now: number): Freshness {
  const { current_as_of: currentAsOf } = calendar;
  return {
    state: stateOf(calendar, now),
    reason: stateReasonOf(calendar),
    generation: calendar.generation,
    syncedAt: momentOf(calendar.synced_at),
    ageMs: currentAsOf === null ? undefined : Math.max(0, epochMs(now) - currentAsOf),
    pending: calendar.requested > calendar.served,
  };
}

async function readPage(
  trx: Trx,
  number: number,
  query: EventsQuery,
): Promise<{ readonly events: readonly GoogleEvent[]; readonly next: string | undefined }> {
  const limit = Math.min(Math.max(query.limit, 1), MAX_PAGE);
  const condition = await touches(trx, number, query);
  const after = query.after === undefined ? sql`` : sql`and event_key > ${toKey(query.after)}`;
  const among = query.ids === undefined ? sql`` : sql`and event_key in (${keysOf(query.ids)})`;
  const { rows } = await sql<{ event_key: string; raw: string }>`
    select event_key, raw from events
    where calendar_number = ${number} ${condition} ${among} ${after}
    order by event_key limit ${limit + 1}`.execute(trx);
  const page = rows.slice(0, limit);
  return {
    events: page.map((row) => parseEvent(row.raw)),
    next: rows.length > limit ? page.at(-1)?.event_key : undefined,
  };
}

function keysOf(ids: readonly string[]): RawBuilder<unknown> {
  return ids.length === 0 ? sql`null` : sql.join(ids.map((id) => sql`${toStoredText(id)}`));
}

/** `next` of an earlier page comes back as it went out; an id of a caller's own may need escaping. */
function toKey(after: string): string {
  return isEscaped(after) ? after : toStoredText(after);
}

function parseEvent(raw: string): GoogleEvent {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- written by JSON.stringify from a GoogleEvent
  return JSON.parse(raw) as GoogleEvent;
}

/**
 * Events that may touch [from, to). An exception also matters where its instance would have been:
 * moved or cancelled, it takes that one away from its series, which may be as long as the longest.
 */
async function touches(trx: Trx, number: number, query: EventsQuery): Promise<RawBuilder<unknown>> {
  if (query.from === undefined && query.to === undefined) return sql``;
  const from = query.from ?? -OPEN_ENDED_MS;
  const to = query.to ?? OPEN_ENDED_MS;
  const { rows } = await sql<{ longest: number | null }>`
    select max(duration_ms) as longest from events
    where calendar_number = ${number} and kind = 'master'
      and last_end_ms >= ${from} and first_start_ms < ${to}`.execute(trx);
  const originalFrom = from - (rows[0]?.longest ?? 0);
  // Keys first, each half from its own index: joined by OR, SQLite read the whole calendar in order.
  return sql`and event_key in (
    select event_key from events
    where calendar_number = ${number} and last_end_ms >= ${from} and first_start_ms < ${to}
    union
    select event_key from events
    where calendar_number = ${number}
      and original_start_ms >= ${originalFrom} and original_start_ms < ${to})`;
}
