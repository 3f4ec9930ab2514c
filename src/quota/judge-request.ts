import type { Clock, EpochMs } from "../core/clock.ts";
import type { Failure } from "../core/failure.ts";
import { DeadlinePassed } from "../core/refusal.ts";
import { permitOutcomeOf, type RestTimes } from "./permit-outcome.ts";
import type { Permit, PermitOutcome, Upstream } from "./permit.ts";
import type { RequestRecord } from "./request-observer.ts";
import { BodyTooLarge, type WireAnswer } from "./wire.ts";

/** An answer that is no success, as the classifier wants it. */
export interface UnsuccessfulAnswer {
  readonly upstream: Upstream;
  readonly status: number;
  readonly headers: Headers;
  readonly bodyText: string;
  readonly now: EpochMs;
}

/** Why requests fail, in words that policies know; `google/` can tell. */
export interface FailureClassifier {
  classifyFailure(answer: UnsuccessfulAnswer): Failure;
  /** Undefined: not the network's error, but a bug of ours or a caller's abort. */
  classifyThrown(error: unknown): Failure | undefined;
}

/** What one request was: for the ledger, the sensor, the figures, and the caller. */
export interface Verdict {
  readonly outcome: PermitOutcome;
  readonly recorded: RequestRecord["outcome"];
  readonly failure: Failure | undefined;
  /** Undefined: it says nothing about upstream's health. */
  readonly sensed: "answered" | "upstream-failed" | undefined;
  readonly bytes: number;
}

/** How far a request had come when it threw. */
export interface ThrownAt {
  readonly permit: Permit;
  readonly signal: AbortSignal;
  /** Since its request line was written; undefined: it never was. */
  readonly flightMs: number | undefined;
}

export interface Judge {
  answer(request: { readonly upstream: Upstream }, answer: WireAnswer): Verdict;
  thrown(error: unknown, at: ThrownAt): Verdict;
}

/** A caller who gave up sooner than this says nothing about upstream. */
const IMPATIENCE_MS = 5000;

/** One verdict per request, from which everyone who is told of it is told the same. */
export function createJudge(
  rest: RestTimes,
  { classifier, clock }: { readonly classifier: FailureClassifier; readonly clock: Clock },
): Judge {
  function verdictOf(failure: Failure, bytes: number): Verdict {
    const outcome = permitOutcomeOf(failure, rest);
    const sensed = outcome.kind === "upstream-failed" ? "upstream-failed" : "answered";
    return { outcome, recorded: outcome.kind, failure, sensed, bytes };
  }

  /** Our own limits on a request in flight: only a long wait says something about upstream. */
  function aborted({ signal, permit, flightMs = 0 }: ThrownAt): Verdict {
    if (!(signal.reason instanceof DeadlinePassed)) return cancelled(permit);
    return flightMs >= IMPATIENCE_MS
      ? verdictOf({ kind: "timed-out" }, 0)
      : { ...cancelled(permit), failure: { kind: "timed-out" } };
  }

  function written(error: unknown, at: ThrownAt): Verdict {
    if (error instanceof BodyTooLarge) {
      const { limitBytes } = error;
      return verdictOf({ kind: "response-too-large", limitBytes }, limitBytes);
    }
    if (at.signal.aborted) return aborted(at);
    const failure = classifier.classifyThrown(error);
    // A bug of ours behind the write: the request counts, and nobody knows how it went.
    return failure ? verdictOf(failure, 0) : cancelled(at.permit);
  }

  return {
    answer: ({ upstream }, { status, headers, body }) => {
      if ((status >= 200 && status < 300) || status === 304) return succeeded(body.length);
      const bodyText = body.toString("utf8");
      const now = clock.now();
      const failure = classifier.classifyFailure({ upstream, status, headers, bodyText, now });
      return verdictOf(failure, body.length);
    },
    thrown: (error, at) => {
      const verdict = written(error, at);
      if (at.flightMs !== undefined || at.permit.isProbe) return verdict;
      // It cost no request; that upstream could not be reached is news all the same.
      return { ...verdict, outcome: { kind: "unused" } };
    },
  };
}

function succeeded(bytes: number): Verdict {
  return {
    outcome: { kind: "succeeded" },
    recorded: "succeeded",
    failure: undefined,
    sensed: "answered",
    bytes,
  };
}

/** A probe whose answer nobody saw must not close the breaker. */
function cancelled(permit: Permit): Verdict {
  return {
    outcome: permit.isProbe ? { kind: "upstream-failed" } : { kind: "answered" },
    recorded: "cancelled",
    failure: undefined,
    sensed: undefined,
    bytes: 0,
  };
}
