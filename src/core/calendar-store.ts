import type { EpochMs } from "./clock.ts";
import type { AccountId, CalendarId, GoogleCalendarId, ProjectId, TenantId } from "./ids.ts";
import type { RequestClass } from "./request.ts";

/** What a reader is told about a calendar; derived, see `calendar-state.ts`. */
export type CalendarState = "never" | "fresh" | "stale" | "slowed" | "lost" | "paused";

/** Why a calendar's row is due when it is due: shown by `calendars why`, counted as backlog. */
export type DueReason =
  | "first-sync"
  | "requested"
  | "poll"
  | "more-pages"
  | "backoff"
  | "retry-after"
  | "budget"
  | "paused"
  | "store-unavailable"
  | "upstream-down"
  | "confirm-lost"
  | "token-loop"
  | "full-resync"
  | "interrupted";

/** A calendar's row as everyone but the refresh sees it. */
export interface CalendarRow {
  readonly id: CalendarId;
  readonly projectId: ProjectId;
  readonly tenantId: TenantId;
  readonly accountId: AccountId;
  readonly googleId: GoogleCalendarId;
  /** Undefined in a busy mirror, which keeps no titles. */
  readonly summary: string | undefined;
  readonly timeZone: string | undefined;
  readonly accessRole: string | undefined;
  readonly isPrimary: boolean;
  readonly isHidden: boolean;
  readonly state: CalendarState;
  /** Failure or refusal code, or a word of ours, behind `slowed`, `lost` and `paused`. */
  readonly stateReason: string | undefined;
  /** 0: never published. */
  readonly generation: number;
  readonly publishedAt: EpochMs | undefined;
  /** The last moment we know that the published copy was current. */
  readonly currentAsOf: EpochMs | undefined;
  readonly requested: number;
  readonly served: number;
  readonly dueAt: EpochMs | undefined;
  readonly dueClass: RequestClass;
  readonly dueReason: DueReason;
  readonly queuedUntil: EpochMs | undefined;
  readonly consecutiveFailures: number;
  readonly tokenDeaths: number;
  readonly lastTokenDeathAt: EpochMs | undefined;
  readonly hasUnfinishedRefresh: boolean;
  readonly pageSize: number;
}

export interface CalendarFilter {
  readonly tenantId?: TenantId | undefined;
  readonly accountId?: AccountId | undefined;
  /** With `accountId` it names one calendar. */
  readonly googleId?: GoogleCalendarId | undefined;
  readonly state?: CalendarState | undefined;
  /** Keyset: ids greater than this one. */
  readonly after?: CalendarId | undefined;
  /** 1 to 1000. */
  readonly limit: number;
}

export type CalendarCounts = Readonly<Record<CalendarState | "total", number>>;

/** One due calendar taken by the claimer; nobody else takes it before `queuedUntil`. */
export interface ClaimedCalendar {
  readonly calendarId: CalendarId;
  readonly tenantId: TenantId;
  readonly class: RequestClass;
}

export interface ClaimQuery {
  readonly now: EpochMs;
  readonly limit: number;
  /** K: at most this many of one tenant queued at once, those already queued counted. */
  readonly perTenant: number;
  readonly queuedForMs: number;
  /** Only these classes; all of them unless given. */
  readonly classes?: readonly RequestClass[];
  /** Calendars a tenant is given at each of its turns; 1 for who is not named. */
  readonly weights?: ReadonlyMap<TenantId, number>;
  /** Tenants that are passed over: what is due of theirs stays due, and they keep their place in turn. */
  readonly except?: ReadonlySet<TenantId>;
}

/** A wish that a calendar be refreshed. */
export interface RefreshRequest {
  readonly calendarId: CalendarId;
  readonly class: RequestClass;
  readonly dueAt: EpochMs;
  readonly mode?: "incremental" | "full";
}

/** What became of a wish. Served when the row's `served` has reached `mark`. */
export type RequestOutcome =
  | { readonly kind: "marked"; readonly mark: number }
  | { readonly kind: "unknown-calendar" }
  | { readonly kind: "not-refreshable" };

/** Calendars, their marks and when they are due. The database is the truth; the queue is not. */
export interface CalendarStore {
  get(id: CalendarId): Promise<CalendarRow | undefined>;
  /** In order of id; at most `limit`. */
  list(filter: CalendarFilter): Promise<readonly CalendarRow[]>;
  counts(): Promise<CalendarCounts>;
  /** Calendars due by `now` and not queued, by class. Bounded work: an estimate above 10,000 is allowed. */
  backlog(now: EpochMs): Promise<Readonly<Record<RequestClass, number>>>;
  /**
   * Record that someone wants this calendar refreshed: raises `requested` by one and makes the row
   * due at `dueAt` unless it is due earlier, in the more urgent of both classes (I6). Idempotent
   * work, never lost: while a refresh runs, the mark leads to another one. `full` asks for a full
   * read. A slowed calendar keeps its due time unless a person or a backfill asks; `interactive` lifts it, and makes a row that is queued as background work
   * claimable at once: whichever job comes second finds nothing to do.
   */
  request(
    id: CalendarId,
    request: Omit<RefreshRequest, "calendarId">,
  ): Promise<"marked" | "unknown-calendar" | "not-refreshable">;
  /**
   * As `request`, of at most 500 different calendars in one transaction. One that has a mark which no
   * refresh has begun to serve, as urgent and due as early, is not marked anew: that mark is answered (I6).
   */
  requestMany(requests: readonly RefreshRequest[]): Promise<readonly RequestOutcome[]>;
  /**
   * Take due calendars of connected accounts: most urgent class first, fair over tenants, longest
   * due first; sets `queuedUntil`. Safe with several claimers; needs no clean-up after a crash.
   */
  claimDue(query: ClaimQuery): Promise<readonly ClaimedCalendar[]>;
}
