import type { EpochMs } from "./clock.ts";
import type { CalendarId } from "./ids.ts";
import type { RefreshKind } from "./refresh-store.ts";
import type { RequestClass } from "./request.ts";

/** How a refresh went, kept with what it wrote. */
export interface RefreshRun {
  readonly kind: RefreshKind;
  readonly at: EpochMs;
  readonly class: RequestClass;
  /** Sent to Google, all attempts counted. */
  readonly requests: number;
  /** Why it did not publish; undefined: it did. */
  readonly code?: string | undefined;
}

/** One of a calendar's last refreshes. */
export interface PastRefresh extends RefreshRun {
  readonly outcome: "published" | "postponed";
  /** Events inserted, updated and deleted. */
  readonly changes: number;
}

/** What `calendars why` tells beside the calendar's row. */
export interface RefreshPast {
  /** Undefined: nobody is refreshing it. */
  readonly leaseUntil: EpochMs | undefined;
  readonly lastFailureCode: string | undefined;
  /** The latest first; the last 20 only. */
  readonly refreshes: readonly PastRefresh[];
}

/** What became of a calendar's last refreshes. */
export interface RefreshHistory {
  /** Undefined: there is no such calendar. */
  of(calendarId: CalendarId): Promise<RefreshPast | undefined>;
}
