import type { CalendarState } from "./calendar-store.ts";
import type { EpochMs } from "./clock.ts";
import type { GoogleEvent } from "./google-event.ts";
import type { CalendarId, TenantId } from "./ids.ts";

/** How current an answer is: said with every read (I11). */
export interface Freshness {
  readonly state: CalendarState;
  readonly reason: string | undefined;
  readonly generation: number;
  readonly syncedAt: EpochMs | undefined;
  /** Milliseconds since the last moment the copy was known to be current; undefined: never synced. */
  readonly ageMs: number | undefined;
  /**
   * Something newer than this copy was announced and is not published yet: a write through the guarded
   * client, a notification, or a request.
   */
  readonly pending: boolean;
}

/** What a read needs of a calendar before it looks at any event. */
export interface CalendarFacts {
  readonly calendarId: CalendarId;
  readonly tenantId: TenantId;
  /** The zone in which its all-day events have their midnights; undefined before it was told. */
  readonly timeZone: string | undefined;
  readonly freshness: Freshness;
}

export interface EventsQuery {
  /** Only events that may touch [from, to): masters by their last possible end. */
  readonly from?: EpochMs | undefined;
  readonly to?: EpochMs | undefined;
  /** Only these, by Google's ids. */
  readonly ids?: readonly string[] | undefined;
  /** Keyset: event ids greater than this one. */
  readonly after?: string | undefined;
  /** 1 to 2500. */
  readonly limit: number;
}

export type EventsRead =
  | {
      readonly kind: "events";
      readonly freshness: Freshness;
      /** Raw masters, single events and exceptions, in order of id; from one generation. */
      readonly events: readonly GoogleEvent[];
      /** Pass as `after`; undefined on the last page. Compare `generation` between pages. */
      readonly next: string | undefined;
    }
  | { readonly kind: "unknown-calendar" };

/** The published copy. Never shows what is staged, half written, or written before the first publish (I4). */
export interface EventStore {
  readEvents(id: CalendarId, query: EventsQuery, now: EpochMs): Promise<EventsRead>;
  /** The facts of these calendars, at most 1,000 at once; those that do not exist are left out. */
  readFacts(ids: readonly CalendarId[], now: EpochMs): Promise<readonly CalendarFacts[]>;
}
