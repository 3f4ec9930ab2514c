import type { FailureKind } from "../core/failure.ts";
import type { Attribution, Operation } from "../core/request.ts";

/** Two services of Google's with limits and troubles of their own. */
export type Upstream = "calendar" | "oauth-token";

/** One request that wants to leave. */
export interface PermitAsk {
  readonly attribution: Attribution;
  readonly operation: Operation;
  readonly upstream: Upstream;
  /** `retry`: the same logical call reached Google before and failed, whoever sent it (I3). */
  readonly attempt: "first" | "retry";
  /** Refuse at once when the wait would be longer: background work ends its job and waits in the database. */
  readonly maxWaitMs: number;
  readonly signal: AbortSignal;
}

/** The right to send one request, once, before `useByMonotonicMs` of the asker's own monotonic clock. */
export interface Permit {
  readonly ask: PermitAsk;
  readonly useByMonotonicMs: number;
  /** The one request that may go out while the breaker is open; its outcome closes or re-opens it. */
  readonly isProbe: boolean;
}

/** What became of a permit, told to the ledger so that the whole fleet learns from it. */
export type PermitOutcome =
  /** The logical call succeeded: earns a tenth of a retry token. */
  | { readonly kind: "succeeded" }
  /** Answered, neither a success nor the fault of upstream (404, 410, 412, …). */
  | { readonly kind: "answered" }
  /** Upstream failed (5xx, broken connection, timeout). */
  | { readonly kind: "upstream-failed" }
  /** Google knows better than our budget: AIMD slows that scope. */
  | {
      readonly kind: "throttled";
      readonly scope: "user" | "project" | "unknown";
      readonly retryAfterMs: number | undefined;
    }
  /** quotaExceeded: this account's writes are parked for hours. */
  | { readonly kind: "writes-parked"; readonly forMs: number }
  /** accessNotConfigured or a spent legacy day: the project stops. */
  | { readonly kind: "project-stopped"; readonly reason: string; readonly forMs: number }
  /** Never written to the wire: costs at most its own place. */
  | { readonly kind: "unused" };

/**
 * Grants permits out of the one budget. `acquire` resolves with a permit or throws a `Refused`
 * that says which limit and for how long; it never outlasts `ask.signal`.
 */
export interface PermitBroker {
  acquire(ask: PermitAsk): Promise<Permit>;
  /** Never throws; what cannot be told now is told with the next ask or dropped on the safe side. */
  report(permit: Permit, outcome: PermitOutcome, reason?: FailureKind): void;
  /** This process' sensor has tripped: nothing is sent to `upstream` by anyone until the ledger's probe succeeds. */
  openBreaker(projectId: Attribution["projectId"], upstream: Upstream): Promise<void>;
  /** Stops asking, refuses what waits, gives back what is unused. */
  close(): Promise<void>;
}
