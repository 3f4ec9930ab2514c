/**
 * The only way to Google, in this order, per logical call: retry rules → slot → attempt, and per request
 * of the attempt: permit → wire → verdict → report. A retry sleeps without a slot; a slot waits for its
 * permit; a permit is used within half a second or not at all.
 *
 * States, of the guard: open → closed. Closing aborts what waits and what is under way.
 */
import type { Clock } from "../core/clock.ts";
import { CallFailed } from "../core/failure.ts";
import { Refused } from "../core/refusal.ts";
import type { Guard, LogicalCall } from "../core/request.ts";
import type { StoreHealth } from "../core/store-health.ts";
import { createCurrentCall, type CallScope } from "./attribution.ts";
import { startDeadline } from "./call-deadline.ts";
import { createBreakerSensor, type BreakerSensorOptions } from "./breaker-sensor.ts";
import { createGuardedFetch, refuseUnstorable, type GuardedFetchOptions } from "./guarded-fetch.ts";
import { createLimiter, type LimiterOptions } from "./limiter.ts";
import type { FailureClassifier } from "./judge-request.ts";
import { createSendOut, type PassageOptions } from "./passage.ts";
import type { PermitBroker } from "./permit.ts";
import type { RequestObserver } from "./request-observer.ts";
import { createRetryRules, type RetryOptions } from "./retry-rules.ts";
import { causesOf, withoutSecrets } from "./without-secrets.ts";
import { createWire, type WireOptions } from "./wire.ts";

export interface GuardOptions {
  readonly endpoints: GuardedFetchOptions;
  readonly limiter: LimiterOptions;
  readonly retry: RetryOptions;
  readonly sensor: BreakerSensorOptions;
  readonly wire: WireOptions;
  readonly passage: PassageOptions;
}

export interface GuardDeps {
  readonly broker: PermitBroker;
  readonly classifier: FailureClassifier;
  readonly observer: RequestObserver;
  readonly storeHealth: StoreHealth;
  readonly clock: Clock;
  /** 0 ≤ random() < 1; for jitter. */
  readonly random: () => number;
}

export interface ClosableGuard extends Guard {
  /** Calls waiting for a slot. */
  waiting(): number;
  /** Ends every call with an error and closes the connections. The broker is its owner's to close. */
  close(): Promise<void>;
}

/** Opens nothing before the first request. */
export function createGuard(options: GuardOptions, deps: GuardDeps): ClosableGuard {
  const { clock } = deps;
  const currentCall = createCurrentCall();
  const closing = new AbortController();
  const limiter = createLimiter(options.limiter);
  const retryRules = createRetryRules(options.retry, deps);
  const sensor = createBreakerSensor(options.sensor, deps);
  const wire = createWire(options.wire, deps);
  const sendOut = createSendOut(options.passage, { ...deps, sensor, wire });

  async function attemptOnce<T>(
    scope: CallScope,
    attempt: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    scope.failure = undefined;
    try {
      return await currentCall.run(scope, () => attempt(scope.signal));
    } catch (error) {
      throw explain(error, scope);
    }
  }

  async function call<T>(
    logicalCall: LogicalCall,
    attempt: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    refuseUnstorable({ call: logicalCall }, deps.storeHealth);
    const deadline = startDeadline(logicalCall, clock);
    const scope: CallScope = {
      call: logicalCall,
      signal: AbortSignal.any([logicalCall.signal, deadline.signal, closing.signal]),
      deadlineAtMs: clock.monotonicMs() + logicalCall.deadlineMs,
      reached: new Set(),
      failure: undefined,
    };
    const { class: requestClass, tenantId } = logicalCall.attribution;
    const slot = { tenantId, class: requestClass, signal: scope.signal };
    const retried = {
      operation: logicalCall.operation,
      class: requestClass,
      deadlineAtMs: scope.deadlineAtMs,
      signal: scope.signal,
    };
    try {
      return await retryRules.run(retried, () =>
        limiter.schedule(slot, () => attemptOnce(scope, attempt)),
      );
    } finally {
      await deadline.end();
    }
  }

  return {
    call,
    fetch: createGuardedFetch(options.endpoints, { ...deps, currentCall, sendOut }),
    waiting: () => limiter.waiting(),
    close: async () => {
      closing.abort(new Error("The guard is closed: no more requests are sent"));
      sensor.close();
      await wire.close();
    },
  };
}

/** What a client library threw, in our words: it wraps refusals and answers alike, and quotes secrets. */
function explain(error: unknown, { failure: seen }: CallScope): unknown {
  for (const cause of causesOf(error)) {
    if (cause instanceof Refused || cause instanceof CallFailed) return cause;
  }
  const cause = withoutSecrets(error);
  if (!seen) return cause;
  return new CallFailed(seen.failure, { operation: seen.operation, cause });
}
