import type { Failure } from "../core/failure.ts";
import { FAILURE_POLICY } from "../core/failure-policy.ts";
import type { PermitOutcome } from "./permit.ts";

/** How long the budget rests after a refusal that waiting cures, or that an operator must cure. */
export interface RestTimes {
  /** quotaExceeded: Google's limit on an account's writes lasts hours. */
  readonly parkWritesMs: number;
  /** accessNotConfigured: asked again this often, in case an operator has acted. */
  readonly stopProjectMs: number;
  /** dailyLimitExceeded: until Google's day turns. */
  readonly untilDayTurnsMs: () => number;
}

/** What a failure teaches the budget: FAILURE_POLICY's row in the ledger's words. */
export function permitOutcomeOf(
  failure: Failure,
  rest: RestTimes,
): Exclude<PermitOutcome, { kind: "unused" }> {
  const policy = FAILURE_POLICY[failure.kind];
  if (policy.sensor === "upstream-failed") return { kind: "upstream-failed" };
  switch (policy.budget) {
    case "nothing":
      return { kind: "answered" };
    case "slow-scope":
      return failure.kind === "rate-limited"
        ? { kind: "throttled", scope: failure.scope, retryAfterMs: failure.retryAfterMs }
        : { kind: "throttled", scope: "unknown", retryAfterMs: undefined };
    case "park-writes":
      return { kind: "writes-parked", forMs: rest.parkWritesMs };
    case "stop-project":
      return { kind: "project-stopped", reason: failure.kind, forMs: rest.stopProjectMs };
    case "stop-project-today":
      return { kind: "project-stopped", reason: failure.kind, forMs: rest.untilDayTurnsMs() };
  }
}
