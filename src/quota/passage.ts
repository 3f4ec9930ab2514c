/**
 * One request's way out: ask for a permit, write while it holds, judge what comes back, and tell the
 * ledger, the sensor and the observer.
 *
 * States: asking → holding a permit → written → reported. A permit found expired where the request
 * line would be written goes back unused and another is asked for; nothing was sent.
 */
import type { Clock } from "../core/clock.ts";
import { CallFailed } from "../core/failure.ts";
import { DeadlinePassed, Refused } from "../core/refusal.ts";
import type { Operation } from "../core/request.ts";
import type { CallScope } from "./attribution.ts";
import type { BreakerSensor } from "./breaker-sensor.ts";
import { createJudge, type FailureClassifier, type Verdict } from "./judge-request.ts";
import type { RestTimes } from "./permit-outcome.ts";
import type { Permit, PermitBroker, Upstream } from "./permit.ts";
import type { RequestObserver, RequestRecord } from "./request-observer.ts";
import { PermitExpired, type Wire, type WireAnswer } from "./wire.ts";

export interface PassageOptions {
  /** Background work ends its job rather than wait longer than this for a permit. */
  readonly maxBackgroundWaitMs: number;
  readonly rest: RestTimes;
}

export interface PassageDeps {
  readonly broker: PermitBroker;
  readonly wire: Wire;
  readonly sensor: BreakerSensor;
  readonly classifier: FailureClassifier;
  readonly observer: RequestObserver;
  readonly clock: Clock;
}

/** One request and whose it is. */
export interface OutgoingRequest {
  readonly scope: CallScope;
  readonly upstream: Upstream;
  readonly operation: Operation;
  readonly attempt: "first" | "retry";
  readonly method: string;
  readonly url: URL;
  readonly headers: Record<string, string>;
  readonly body: Buffer | undefined;
  readonly signal: AbortSignal;
}

/** Throws CallFailed when no answer came, and a Refused when nothing was sent. */
export type SendOut = (request: OutgoingRequest) => Promise<WireAnswer>;

/** Connecting may outlast a permit once or twice; more often, and the process itself is stalling. */
const MAX_EXPIRED_PERMITS = 5;

/**
 * How much of the time left to a call it may spend on waiting for a permit: the refusal, which says why, has to
 * come before the call's deadline, which does not.
 */
const WAITING_SHARE = 0.9;

interface Told {
  readonly verdict: Verdict;
  readonly durationMs: number;
  readonly permitWaitMs: number;
}

export function createSendOut(options: PassageOptions, deps: PassageDeps): SendOut {
  const { broker, clock, sensor, observer } = deps;
  const judge = createJudge(options.rest, deps);
  const askForPermit = createAskForPermit(options, deps);
  const sinceMs = (momentMs: number): number => clock.monotonicMs() - momentMs;

  function tell(request: OutgoingRequest, permit: Permit, told: Told): void {
    const { outcome, sensed, recorded, failure, bytes } = told.verdict;
    broker.report(permit, outcome, failure?.kind);
    if (sensed) sensor.observe(permit, sensed);
    const { durationMs, permitWaitMs } = told;
    const record = recordOf(request, { durationMs, permitWaitMs, bytes });
    observer.onRequest({ ...record, outcome: recorded, reason: failure?.kind });
  }

  /** Undefined: the permit had expired; nothing was written. */
  async function useOnce(
    request: OutgoingRequest,
    { permit, permitWaitMs }: { readonly permit: Permit; readonly permitWaitMs: number },
  ): Promise<WireAnswer | undefined> {
    let writtenAtMs: number | undefined;
    const settle = (verdict: Verdict): void => {
      const durationMs = writtenAtMs === undefined ? 0 : sinceMs(writtenAtMs);
      tell(request, permit, { verdict, durationMs, permitWaitMs });
    };
    const onWritten = (): void => {
      writtenAtMs = clock.monotonicMs();
      markReached(request);
    };
    const { useByMonotonicMs } = permit;
    let answer: WireAnswer;
    try {
      answer = await deps.wire.send({ ...request, useByMonotonicMs, onWritten });
    } catch (error) {
      if (error instanceof PermitExpired || (writtenAtMs === undefined && request.signal.aborted)) {
        broker.report(permit, { kind: "unused" });
        if (error instanceof PermitExpired) return undefined;
        throw error;
      }
      const flightMs = writtenAtMs === undefined ? undefined : sinceMs(writtenAtMs);
      const verdict = judge.thrown(error, { permit, signal: request.signal, flightMs });
      settle(verdict);
      if (!verdict.failure) throw error;
      throw new CallFailed(verdict.failure, { operation: request.operation, cause: error });
    }
    const verdict = judge.answer(request, answer);
    if (verdict.failure) {
      request.scope.failure = { failure: verdict.failure, operation: request.operation };
    }
    settle(verdict);
    return answer;
  }

  return async (request) => {
    const askedAtMs = clock.monotonicMs();
    for (let tries = 0; tries < MAX_EXPIRED_PERMITS; tries += 1) {
      const permit = await askForPermit(request, askedAtMs);
      const permitWaitMs = clock.monotonicMs() - askedAtMs;
      const answer = await useOnce(request, { permit, permitWaitMs });
      if (answer) return answer;
    }
    throw new DeadlinePassed({
      message: `${MAX_EXPIRED_PERMITS} permits expired before ${request.operation} could be written: connecting takes too long, or this process stalls`,
      retryAfterMs: 1000,
    });
  };
}

function createAskForPermit(
  { maxBackgroundWaitMs }: PassageOptions,
  { broker, clock, sensor, observer }: PassageDeps,
): (request: OutgoingRequest, askedAtMs: number) => Promise<Permit> {
  return async (request, askedAtMs) => {
    const { scope, operation, upstream, attempt, signal } = request;
    const { attribution } = scope.call;
    const leftMs = Math.max(0, scope.deadlineAtMs - clock.monotonicMs());
    const isInteractive = attribution.class === "interactive";
    const mostMs = leftMs * WAITING_SHARE;
    const maxWaitMs = isInteractive ? mostMs : Math.min(mostMs, maxBackgroundWaitMs);
    try {
      const ask = { attribution, operation, upstream, attempt, maxWaitMs, signal };
      const permit = await broker.acquire(ask);
      sensor.noteGranted(permit);
      return permit;
    } catch (error) {
      if (error instanceof Refused) {
        const permitWaitMs = clock.monotonicMs() - askedAtMs;
        const record = recordOf(request, { durationMs: 0, permitWaitMs, bytes: 0 });
        observer.onRequest({ ...record, outcome: "refused", reason: error.code });
      }
      throw error;
    }
  };
}

/** From here on every further request of the call to the same upstream is a retry (I3). */
function markReached({ scope, upstream, operation }: OutgoingRequest): void {
  scope.reached.add(upstream);
  // A token request on the way to the call's own request leaves that one a first try.
  if (operation === scope.call.operation) scope.call.onSent?.();
}

function recordOf(
  { scope, operation, upstream, attempt }: OutgoingRequest,
  measured: Pick<RequestRecord, "durationMs" | "permitWaitMs" | "bytes">,
): Omit<RequestRecord, "outcome" | "reason"> {
  return { attribution: scope.call.attribution, operation, upstream, attempt, ...measured };
}
