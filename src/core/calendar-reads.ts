import type { EpochMs } from "./clock.ts";
import type { Freshness } from "./event-store.ts";
import type { GoogleEvent } from "./google-event.ts";
import type { CalendarId, TenantId } from "./ids.ts";

/** From a moment to before another. */
export interface TimeRange {
  readonly from: EpochMs;
  readonly to: EpochMs;
}

/**
 * Why nothing can be said about a time. The last two are about events, named in
 * `eventIds`; the others are about the calendar's whole copy.
 */
export type UnknownReason =
  | "unknown-calendar"
  | "never-synced"
  | "lost"
  | "paused"
  | "slowed"
  | "stale"
  /** The copy is older than the question allows, and no newer one came before the deadline. */
  | "older-than-asked"
  /** It was published anew again and again while it was being read. */
  | "changing"
  /** An event's times, zone or recurrence cannot be read; no event named: the calendar's own zone. */
  | "unreadable-event"
  /** A series has more occurrences than one question may cost. */
  | "too-much-to-expand";

/** A time about which nothing can be said: it may be busy, and it must not be taken for free (I11). */
export interface UnknownTime extends TimeRange {
  readonly reason: UnknownReason;
  /** The first few events that are the reason; empty when it is the whole copy. */
  readonly eventIds: readonly string[];
}

/** What every read may ask for. */
interface ReadQuestion extends TimeRange {
  /** Calendars of other tenants are answered like calendars that do not exist. */
  readonly tenantId?: TenantId | undefined;
  /** Where all-day events have their midnights, instead of in the calendar's own zone. */
  readonly timeZone?: string | undefined;
  /**
   * How old a copy may be. An older one is refreshed while the asker waits, at most until the
   * deadline. A younger one counts as known even where the calendar's state is not `fresh`.
   */
  readonly maxAgeMs?: number | undefined;
  /** How long to wait for such a refresh. */
  readonly refreshDeadlineMs?: number | undefined;
}

export interface BusyQuestion extends ReadQuestion {
  readonly calendarIds: readonly CalendarId[];
  /** What tentative and unanswered events are. */
  readonly tentative: "busy" | "free";
}

export interface CalendarBusy {
  readonly calendarId: CalendarId;
  /** Undefined: there is no such calendar. */
  readonly freshness: Freshness | undefined;
  /** As far as the copy says, ascending, merged; also where the copy is not trusted. */
  readonly busy: readonly TimeRange[];
  /** Never overlaps `busy`: what is in neither list is free. */
  readonly unknown: readonly UnknownTime[];
}

/** Busy times of calendars, merged and one by one. What is in neither list is free in all of them. */
export interface BusyAnswer extends TimeRange {
  readonly busy: readonly TimeRange[];
  /** One list for each reason; never overlaps `busy`. Not empty: do not offer these times without asking Google. */
  readonly unknown: readonly UnknownTime[];
  readonly calendars: readonly CalendarBusy[];
}

export interface EventsQuestion extends ReadQuestion {
  readonly calendarId: CalendarId;
  /** 1 to 2500. */
  readonly limit: number;
  /** `next` of the page before. */
  readonly after?: string | undefined;
}

/** One event as it takes place: a single event, an exception, or an occurrence of a series. */
export interface EventInstance {
  readonly startMs: EpochMs;
  readonly endMs: EpochMs;
  readonly isAllDay: boolean;
  /** As Google lists it with `singleEvents=true`. */
  readonly event: GoogleEvent;
}

export type EventsAnswer =
  | {
      readonly kind: "events";
      readonly freshness: Freshness;
      /** By start. */
      readonly instances: readonly EventInstance[];
      readonly unknown: readonly UnknownTime[];
      /** Compare the generation between pages. */
      readonly next: string | undefined;
    }
  | { readonly kind: "unknown-calendar" };

/** A question that cannot be answered: says which part of it, and what it should be. */
export class QuestionRefused extends Error {
  override readonly name = "QuestionRefused";
  /** Stable: `range-empty`, `range-too-long`, `too-many-calendars`, `answer-too-large`, `bad-time-zone`, `bad-cursor`. */
  readonly code: QuestionProblem;

  constructor(code: QuestionProblem, message: string) {
    super(message);
    this.code = code;
  }
}

export type QuestionProblem =
  | "range-empty"
  | "range-too-long"
  | "too-many-calendars"
  | "answer-too-large"
  | "bad-time-zone"
  | "bad-cursor";

/** Reads of the mirror over ranges of time. Throws {@link QuestionRefused}, and what the store throws. */
export interface CalendarReader {
  readBusy(question: BusyQuestion, signal: AbortSignal): Promise<BusyAnswer>;
  readEvents(question: EventsQuestion, signal: AbortSignal): Promise<EventsAnswer>;
}

/** Makes a calendar due now for a person who waits; as `CalendarStore.request` does. */
export type RequestRefresh = (
  id: CalendarId,
) => Promise<"marked" | "unknown-calendar" | "not-refreshable">;

/** Told which calendars are being read, so that they are kept fresher; must return at once and not throw. */
export type NoteReads = (calendarIds: readonly CalendarId[], at: EpochMs) => void;
