/**
 * Remembers which calls reached Google and failed, so that the same call made again is a retry, whoever tries again:
 * a loop of the adopter's pays for its tries as ours does (I3).
 *
 * State, per call: unknown → failed → forgotten, when it succeeds, after a while, or when MOST_KEPT later ones failed.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../../../src/core/clock.ts";
import type { EarlierAttempt } from "../../../src/core/request.ts";

/** What makes two calls the same: what they ask for, and of whom. */
export interface CallIdentity {
  readonly account: string;
  readonly method: string;
  readonly url: string;
  readonly params: unknown;
  readonly body: unknown;
}

export interface FailedCalls {
  earlierAttemptOf(key: string): EarlierAttempt;
  noteFailed(key: string): void;
  noteSucceeded(key: string): void;
}

const MOST_KEPT = 5_000;
const KEPT_FOR_MS = 10 * 60_000;

export function createFailedCalls({ clock }: { readonly clock: Clock }): FailedCalls {
  const failedAtMs = new Map<string, number>();
  return {
    earlierAttemptOf: (key) => {
      const atMs = failedAtMs.get(key);
      if (atMs === undefined || clock.monotonicMs() - atMs > KEPT_FOR_MS) return "none";
      return "reached-google";
    },
    noteFailed: (key) => {
      failedAtMs.delete(key);
      failedAtMs.set(key, clock.monotonicMs());
      const [oldest] = failedAtMs.keys();
      if (failedAtMs.size > MOST_KEPT && oldest !== undefined) failedAtMs.delete(oldest);
    },
    noteSucceeded: (key) => {
      failedAtMs.delete(key);
    },
  };
}

/** A hash: neither titles nor addresses are kept. */
export function keyOfCall({ account, method, url, params, body }: CallIdentity): string {
  const text = JSON.stringify([account, method, url, params, body]);
  return createHash("sha256").update(text).digest("base64");
}
