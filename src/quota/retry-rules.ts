/**
 * Trying a logical call again, outermost of the guard's parts: while it sleeps it holds no slot and no
 * permit. p-retry counts and decides; the wait is ours, since its own jitter is gone at its maximum.
 *
 * State, per logical call: trying → failed → (sleeping → trying) | over. Each further try asks for its
 * permit as a retry and so pays a retry token of the fleet (I3).
 */
import pRetry from "p-retry";
import type { Clock } from "../core/clock.ts";
import { CallFailed, type Failure } from "../core/failure.ts";
import { FAILURE_POLICY, retryAfterOf } from "../core/failure-policy.ts";
import type { Operation, RequestClass } from "../core/request.ts";

export interface RetryOptions {
  /** The first try included. */
  readonly maxAttempts: number;
  /** The jitter's upper bound before the second try; doubles with each further one. */
  readonly baseMs: number;
  readonly capMs: number;
  /** Background work waits no longer than this in place: a longer wait belongs to the database. */
  readonly maxBackgroundWaitMs: number;
}

export interface RetryDeps {
  readonly clock: Clock;
  /** 0 ≤ random() < 1. */
  readonly random: () => number;
}

/** What of a logical call the rules look at. */
export interface RetriedCall {
  readonly operation: Operation;
  readonly class: RequestClass;
  readonly deadlineAtMs: number;
  readonly signal: AbortSignal;
}

export interface RetryRules {
  /** Throws what the last try threw. */
  run<T>(call: RetriedCall, attempt: () => Promise<T>): Promise<T>;
}

/**
 * A request of these whose answer never came may have been carried out: sent again it would be carried out
 * twice, or fail for having been. One that Google refused for its rate was not, and is tried again.
 */
const NOT_REPEATABLE: ReadonlySet<Operation> = new Set([
  "events.insert",
  "events.quickAdd",
  "events.move",
  "other",
]);

/** Google asks for at least a second before a minute limit is tried again. */
const RATE_LIMIT_FLOOR_MS = 1000;

export function createRetryRules(options: RetryOptions, deps: RetryDeps): RetryRules {
  /** Full jitter, so that callers who failed together do not come back together. */
  function waitMs(failure: Failure, attemptNumber: number): number {
    const bound = Math.min(options.capMs, options.baseMs * 2 ** (attemptNumber - 1));
    const floor = failure.kind === "rate-limited" ? RATE_LIMIT_FLOOR_MS : 0;
    return Math.max(floor + deps.random() * bound, retryAfterOf(failure) ?? 0);
  }

  async function sleepBefore(
    call: RetriedCall,
    failed: { readonly error: Error; readonly attemptNumber: number },
  ): Promise<boolean> {
    const { error, attemptNumber } = failed;
    // A refusal of ours is not tried again here: it says for how long, and the owner waits.
    if (!(error instanceof CallFailed) || !mayRetry(error.failure, call)) return false;
    if (call.signal.aborted) return false;
    const wait = waitMs(error.failure, attemptNumber);
    if (call.class !== "interactive" && wait > options.maxBackgroundWaitMs) return false;
    if (deps.clock.monotonicMs() + wait >= call.deadlineAtMs) return false;
    await deps.clock.sleep(wait, call.signal);
    return true;
  }

  return {
    run: (call, attempt) =>
      pRetry(attempt, {
        retries: options.maxAttempts - 1,
        minTimeout: 0,
        // Not its signal: it would throw the deadline where the call itself failed at Google.
        shouldRetry: (failed) => sleepBefore(call, failed),
      }),
  };
}

function mayRetry(failure: Failure, call: RetriedCall): boolean {
  const { inPlace } = FAILURE_POLICY[failure.kind];
  if (inPlace === "backoff-if-interactive") return call.class === "interactive";
  return inPlace === "backoff" && !NOT_REPEATABLE.has(call.operation);
}
