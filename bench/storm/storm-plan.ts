import type { FaultScript } from "../../src/simulator/fault-script.ts";

/** The same for every stack: what is offered, what Google allows, and what goes wrong when. */
export interface StormPlan {
  readonly seed: number;
  readonly windowMs: number;
  readonly limit: number;
  readonly offeredPerSecond: number;
  readonly accounts: number;
  readonly calendarsPerAccount: number;
  readonly seconds: number;
  /** In order; each holds until the next. */
  readonly phases: readonly StormPhase[];
  /** A booking API and a poller ask for a fifth of the accounts each, beside the workers. */
  readonly hasConsumers?: boolean;
}

/** From this second on Google is like this. */
export interface StormPhase {
  readonly at: number;
  readonly name: string;
  readonly faults: FaultScript;
  /** Every calendar becomes due at once, in class `backfill`. */
  readonly isBackfill?: boolean;
  /** Ballast's only, today's stack has none: the database takes two seconds for each write. */
  readonly isDatabaseSlow?: boolean;
}

/** Nothing is wrong. */
export const CALM: FaultScript = { faults: [] };

/** Every list is answered 503. */
export const ALL_FAIL: FaultScript = {
  faults: [
    {
      match: { operation: "events.list" },
      answer: { kind: "error", status: 503, reason: "backendError" },
    },
  ],
};

/** Google says that the project's minute is spent, whatever was sent. */
export const ALL_REFUSED: FaultScript = {
  faults: [{ match: { operation: "events.list" }, answer: { kind: "quota", scope: "project" } }],
};
