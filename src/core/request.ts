import type { AccountId, Consumer, ProjectId, QuotaUser, TenantId } from "./ids.ts";

/** Every class of request, most urgent first. Meanings: ARCHITECTURE.md, *Words*. */
export const REQUEST_CLASSES = ["interactive", "push", "poll", "backfill"] as const;
export type RequestClass = (typeof REQUEST_CLASSES)[number];

/** Every operation that may leave for Google, by Google's own names, plus the token endpoint. */
export const OPERATIONS = [
  "calendarList.list",
  "calendarList.get",
  "calendars.get",
  "events.list",
  "events.get",
  "events.insert",
  "events.import",
  "events.update",
  "events.patch",
  "events.move",
  "events.quickAdd",
  "events.delete",
  "events.instances",
  "events.watch",
  "calendarList.watch",
  "channels.stop",
  "freebusy.query",
  "oauth.token",
  "other",
] as const;
export type Operation = (typeof OPERATIONS)[number];

/** Who pays for a request and why it is made. Every request that leaves carries one (I2). */
export interface Attribution {
  readonly projectId: ProjectId;
  readonly tenantId: TenantId;
  readonly accountId: AccountId;
  readonly quotaUser: QuotaUser;
  readonly consumer: Consumer;
  readonly class: RequestClass;
}

/**
 * Whether this logical call reached Google before and failed, whoever sent it then. It decides
 * between `first` and `retry`, and so who pays a retry token (I3).
 */
export type EarlierAttempt = "none" | "reached-google";

/** How a call is to be made: passed from the one who wants it down to the guard. */
export interface CallOptions {
  readonly consumer: Consumer;
  readonly class: RequestClass;
  readonly earlierAttempt: EarlierAttempt;
  /** Told each time a request of this call is written to the wire, before the answer is known. */
  readonly onSent?: (() => void) | undefined;
  /** Milliseconds from now after which nobody wants the answer any more. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** One page or one write that someone wants, counted once however often it is tried. */
export interface LogicalCall {
  readonly attribution: Attribution;
  readonly operation: Operation;
  readonly earlierAttempt: EarlierAttempt;
  readonly onSent?: (() => void) | undefined;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/**
 * The only way to Google. `call` runs one logical call, trying again within its rules; `fetch` is
 * the choke point that both the API client and the token client are given: it refuses any request
 * made outside of a `call` (I2).
 */
export interface Guard {
  /**
   * Throws what `attempt` threw last (a `CallFailed`), or a `Refused` when nothing more may be sent.
   * `attempt` gets the signal to pass to the client and is told how often it has been run.
   */
  call<T>(call: LogicalCall, attempt: (signal: AbortSignal) => Promise<T>): Promise<T>;
  readonly fetch: typeof fetch;
}
