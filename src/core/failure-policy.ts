import type { Failure, FailureKind } from "./failure.ts";

/** What whoever owns the work (a refresh, a discovery, a write) does once no more is tried in place. */
export type OwnersAnswer =
  /** Leave it for a later due time, with the reason that the row shows. */
  | {
      readonly kind: "postpone";
      readonly dueReason: "backoff" | "retry-after" | "upstream-down" | "budget" | "paused";
    }
  /** Drop the sync token and read everything anew, staged beside the published copy (I5). */
  | { readonly kind: "full-sync" }
  /** Ask once more at the next due time; the second such answer in a row is a dead token (I5). */
  | { readonly kind: "suspect-sync-token" }
  /** Ask again after a while; a second such answer confirms that access is lost. */
  | { readonly kind: "confirm-lost" }
  /** The account's credentials are no good: nothing of it is sent until a person reconnects it. */
  | { readonly kind: "reconnect" }
  /** Nobody's account is at fault: the one who runs the service is told; asked again every few minutes. */
  | { readonly kind: "alarm"; readonly dueReason: "backoff" | "paused" }
  /** The same request can never succeed: set it aside with its reason and report it. */
  | { readonly kind: "give-up" }
  /** Halve the page size and begin the listing again. */
  | { readonly kind: "smaller-pages" }
  /** Drop the page token and what was staged, keep the sync token, and begin the listing again. */
  | { readonly kind: "restart-listing" }
  /** Read the current version, then decide anew. */
  | { readonly kind: "read-again" }
  /** Remember that the calendar cannot be watched; poll it. */
  | { readonly kind: "poll-instead" };

/** Everything that anyone decides by a failure's kind, in one row. */
export interface Policy {
  /**
   * May the guard try again within the same logical call? `backoff`: full jitter, at least
   * `Retry-After`; each try pays a retry token. `backoff-if-interactive`: only while a person waits;
   * background work waits in the database. `after-new-token`: once, by whoever holds the tokens.
   */
  readonly inPlace: "backoff" | "backoff-if-interactive" | "after-new-token" | "never";
  /** Does it count as upstream's failure (breaker), or did upstream work and say no? */
  readonly sensor: "upstream-failed" | "answered";
  /** What the budget learns from it, for the whole fleet. */
  readonly budget:
    | "nothing"
    /** AIMD: slow the quota user, or the project where the text or enough users name it. */
    | "slow-scope"
    /** The account's writes rest for hours. */
    | "park-writes"
    /** The project rests until an operator has acted. */
    | "stop-project"
    /** The project rests until Google's day turns. */
    | "stop-project-today";
  readonly owner: OwnersAnswer;
  /** The same request, sent again unchanged, gets the same answer for ever. */
  readonly isPermanent: boolean;
}

const later: OwnersAnswer = { kind: "postpone", dueReason: "backoff" };
const answered = { inPlace: "never", sensor: "answered", budget: "nothing" } as const;
const hopeless: Policy = { ...answered, owner: { kind: "give-up" }, isPermanent: true };
const passing = { isPermanent: false } as const;

/** The one table of answers to failures. A new kind does not compile until it is decided here. */
export const FAILURE_POLICY: Readonly<Record<FailureKind, Policy>> = {
  "invalid-request": hopeless,
  "access-token-rejected": {
    ...answered,
    inPlace: "after-new-token",
    // Rejected with a token minutes old: trouble at Google's end or a clock; not a lost consent.
    owner: later,
    ...passing,
  },
  "rate-limited": {
    ...answered,
    inPlace: "backoff-if-interactive",
    budget: "slow-scope",
    owner: { kind: "postpone", dueReason: "retry-after" },
    ...passing,
  },
  "usage-limit-exceeded": {
    ...answered,
    budget: "park-writes",
    owner: { kind: "postpone", dueReason: "budget" },
    ...passing,
  },
  "day-limit-exceeded": {
    ...answered,
    budget: "stop-project-today",
    owner: { kind: "postpone", dueReason: "budget" },
    ...passing,
  },
  "api-not-enabled": {
    ...answered,
    budget: "stop-project",
    owner: { kind: "postpone", dueReason: "paused" },
    ...passing,
  },
  "scope-missing": { ...answered, owner: { kind: "reconnect" }, isPermanent: true },
  forbidden: { ...answered, owner: { kind: "confirm-lost" }, isPermanent: true },
  "not-found": { ...answered, owner: { kind: "confirm-lost" }, isPermanent: true },
  conflict: { ...answered, owner: { kind: "read-again" }, isPermanent: true },
  "condition-not-met": { ...answered, owner: { kind: "read-again" }, isPermanent: true },
  "sync-token-dead": { ...answered, owner: { kind: "full-sync" }, isPermanent: true },
  "sync-token-suspect": { ...answered, owner: { kind: "suspect-sync-token" }, ...passing },
  "page-token-dead": { ...answered, owner: { kind: "restart-listing" }, isPermanent: true },
  "updated-min-too-old": { ...answered, owner: { kind: "full-sync" }, isPermanent: true },
  "push-not-supported": { ...answered, owner: { kind: "poll-instead" }, isPermanent: true },
  "upstream-unavailable": {
    inPlace: "backoff",
    sensor: "upstream-failed",
    budget: "nothing",
    owner: { kind: "postpone", dueReason: "upstream-down" },
    ...passing,
  },
  "timed-out": {
    inPlace: "backoff",
    sensor: "upstream-failed",
    budget: "nothing",
    owner: { kind: "postpone", dueReason: "upstream-down" },
    ...passing,
  },
  // Once more in place is worth a token; a page that stays garbage is looked at again later.
  "malformed-response": {
    inPlace: "backoff",
    sensor: "upstream-failed",
    budget: "nothing",
    owner: later,
    ...passing,
  },
  "response-too-large": { ...answered, owner: { kind: "smaller-pages" }, isPermanent: true },
  "credentials-revoked": { ...answered, owner: { kind: "reconnect" }, isPermanent: true },
  "clock-skewed": { ...answered, owner: { kind: "alarm", dueReason: "backoff" }, ...passing },
  "client-misconfigured": {
    ...answered,
    // The project's fault: its other accounts fail alike, and none of them is disconnected for it.
    owner: { kind: "alarm", dueReason: "paused" },
    ...passing,
  },
  unrecognised: { ...answered, owner: later, ...passing },
};

/** How long Google asked to be left alone; undefined when it did not say. */
export function retryAfterOf(failure: Failure): number | undefined {
  return "retryAfterMs" in failure ? failure.retryAfterMs : undefined;
}
