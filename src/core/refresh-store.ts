import type { DueReason } from "./calendar-store.ts";
import type { EpochMs } from "./clock.ts";
import type { GoogleEvent } from "./google-event.ts";
import type { AccountId, CalendarId, GoogleCalendarId, TenantId } from "./ids.ts";
import type { NextPoll, PollFacts } from "./poll-store.ts";
import type { RefreshRun } from "./refresh-history.ts";
import type { EarlierAttempt, RequestClass } from "./request.ts";

export type RefreshKind = "full" | "incremental";

/**
 * The right to write one calendar. `fence` rises with every lease; a write with an older one does
 * nothing and answers `fenced-out` (I7).
 */
export interface RefreshLease {
  readonly calendarId: CalendarId;
  readonly fence: number;
}

/** A listing that was begun and whose pages so far are stored: it goes on from `nextPageToken`. */
export interface UnfinishedRefresh {
  readonly kind: RefreshKind;
  /** Undefined: not one page is stored yet. */
  readonly nextPageToken: string | undefined;
  /** When its first page was asked for. */
  readonly startedAt: EpochMs;
  readonly pagesStored: number;
  /** The query's fingerprint when it was begun: its page token holds for that query only. */
  readonly fingerprint: string;
  /** `requested` when it was begun: what its publish serves. */
  readonly requestedAtStart: number;
}

/** What a refresh needs to know of its calendar. */
export interface RefreshState {
  readonly calendarId: CalendarId;
  readonly accountId: AccountId;
  readonly tenantId: TenantId;
  readonly googleId: GoogleCalendarId;
  readonly generation: number;
  readonly syncToken: string | undefined;
  readonly queryFingerprint: string | undefined;
  readonly unfinished: UnfinishedRefresh | undefined;
  /** The retry mark of the next request; a crash in mid-request leaves `reached-google` (I3, on the safe side). */
  readonly earlierAttempt: EarlierAttempt;
  readonly requestedMode: RefreshKind;
  /** `requested` as of now: a publish of a refresh begun now serves this mark. */
  readonly requested: number;
  readonly served: number;
  readonly dueClass: RequestClass;
  readonly dueReason: DueReason;
  readonly pageSize: number;
  readonly consecutiveFailures: number;
  readonly lastFailureCode: string | undefined;
  readonly tokenDeaths: number;
  readonly lastTokenDeathAt: EpochMs | undefined;
}

export type BeginRefresh =
  | { readonly kind: "begun"; readonly lease: RefreshLease; readonly state: RefreshState }
  | { readonly kind: "busy"; readonly until: EpochMs }
  /** Due later, or not at all: what this job was queued for has been done already. */
  | { readonly kind: "not-due" }
  | { readonly kind: "unknown-calendar" }
  /** Lost, paused, or its account is not connected: nothing is to be asked of Google. */
  | { readonly kind: "not-refreshable"; readonly reason: string };

export interface StagedPage {
  readonly kind: RefreshKind;
  /** The first page of a listing drops what an earlier, abandoned listing staged. */
  readonly isFirst: boolean;
  readonly startedAt: EpochMs;
  readonly fingerprint: string;
  readonly requestedAtStart: number;
  readonly items: readonly GoogleEvent[];
  readonly nextPageToken: string;
  /** Storing a page extends the lease. */
  readonly leaseUntil: EpochMs;
}

export interface Publication {
  readonly kind: RefreshKind;
  /** True when this page is the whole listing: nothing was staged before it. */
  readonly isFirst: boolean;
  readonly startedAt: EpochMs;
  /** The last page, or the only one. */
  readonly items: readonly GoogleEvent[];
  readonly syncToken: string;
  readonly queryFingerprint: string;
  readonly timeZone: string | undefined;
  readonly accessRole: string | undefined;
  /** The `requested` mark that this refresh serves. */
  readonly served: number;
  /**
   * When to poll next if no request is left unserved; else the row is due at once. A function decides within
   * the transaction, from what the row says then.
   */
  readonly nextPoll: NextPoll | ((facts: PollFacts) => NextPoll);
  readonly now: EpochMs;
  /** Kept with the calendar's last refreshes. */
  readonly run?: RefreshRun | undefined;
}

export interface PublishedChanges {
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
}

export type PublishResult =
  | {
      readonly kind: "published";
      /** Unchanged when nothing differed. */
      readonly generation: number;
      readonly changes: PublishedChanges;
    }
  | { readonly kind: "fenced-out" };

/** How a refresh that did not publish leaves its calendar. Nothing published is touched. */
export interface RefreshPostponed {
  readonly dueAt: EpochMs;
  readonly dueReason: DueReason;
  readonly earlierAttempt: EarlierAttempt;
  /** Undefined: keep the count (our own refusal is not a failure). */
  readonly failure?: { readonly code: string; readonly consecutive: number } | undefined;
  /** Forget the staged pages and begin the listing anew. */
  readonly dropUnfinished: boolean;
  /** I5: only after Google itself said that the token is dead. */
  readonly dropSyncToken: boolean;
  readonly tokenDeaths?: { readonly count: number; readonly lastAt: EpochMs } | undefined;
  readonly pageSize?: number | undefined;
  readonly state:
    { readonly kind: "keep" } | { readonly kind: "slowed" | "lost"; readonly reason: string };
  /** Kept with the calendar's last refreshes. */
  readonly run?: RefreshRun | undefined;
}

/**
 * One calendar's refresh, from lease to publish. Every write checks the fence in its own
 * transaction. A calendar never published may be written in portions (readers see `never`);
 * otherwise pages are staged beside the published copy and `publish` is one transaction that writes
 * the differences, removes what is absent (full) or cancelled (both), and moves generation, sync
 * token and fingerprint together (I4).
 *
 * A cancelled exception is kept only while its series (a stored event with `recurrence`) lives; any
 * other cancelled event is a deletion. Deleting a series deletes its exceptions, unless the same
 * listing holds one that is not cancelled.
 */
export interface RefreshStore {
  /**
   * Takes the lease when the row is due (`dueAt` ≤ now) and no live lease holds it. `publish` and
   * `postpone` end the lease and clear `queuedUntil`, so that the row can be claimed again.
   */
  begin(
    calendarId: CalendarId,
    lease: { readonly now: EpochMs; readonly until: EpochMs },
  ): Promise<BeginRefresh>;
  stagePage(lease: RefreshLease, page: StagedPage): Promise<"staged" | "fenced-out">;
  publish(lease: RefreshLease, publication: Publication): Promise<PublishResult>;
  /** Ends the lease without publishing. A request that came meanwhile keeps its earlier due time. */
  postpone(lease: RefreshLease, outcome: RefreshPostponed): Promise<"postponed" | "fenced-out">;
}
