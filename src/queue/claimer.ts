import type { Clock } from "../core/clock.ts";
import { StoreUnavailable } from "../core/refusal.ts";

/**
 * Moves due rows from the database into the queue, a few at a time, for ever.
 *
 * States: looking → (took some, or the queue is full → a short rest | nothing → resting | store gone → backing
 * off) → stopped. Several may run at once: a claim hides its rows from the others until `queuedUntil`, so a
 * crash between claim and enqueue costs a wait and needs no clean-up. What could not be enqueued is
 * claimed again when that moment has passed.
 */
export interface ClaimerOptions {
  /** Between looks while there is work: a worker that has room again waits no longer for the next job. */
  readonly busyRestMs: number;
  /** Between looks while nothing is due. */
  readonly idleRestMs: number;
  /** Wait after the database or Redis could not be asked. */
  readonly backoffMs: number;
}

/** `full`: what is due has to wait for room, in the queue or in the budget. `idle`: there is nothing to take. */
export type ClaimLook = "took" | "full" | "idle";

export interface ClaimerDeps {
  readonly clock: Clock;
  /** Claim some due rows and enqueue them. */
  readonly claim: () => Promise<ClaimLook>;
  readonly onError: (error: unknown) => void;
}

export interface Claimer {
  /** Look now instead of after the rest: something became due. */
  nudge(): void;
  /** Resolves when the last look has ended. */
  stop(): Promise<void>;
}

/** Start claiming. No error of a look ends the loop; each is told to `onError`. */
export function startClaimer(options: ClaimerOptions, deps: ClaimerDeps): Claimer {
  const stopping = new AbortController();
  const restAfter: Readonly<Record<ClaimLook, number>> = {
    took: options.busyRestMs,
    full: options.busyRestMs,
    idle: options.idleRestMs,
  };
  let rest = new AbortController();

  /** Cut short by a nudge, one that came during the look before it included. */
  const pause = async (durationMs: number): Promise<void> => {
    const signal = AbortSignal.any([stopping.signal, rest.signal]);
    try {
      await deps.clock.sleep(durationMs, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  };

  const look = async (): Promise<number> => {
    rest = new AbortController();
    try {
      return restAfter[await deps.claim()];
    } catch (error) {
      deps.onError(error);
      // Those who hold fetched pages store them first when the database is back (I13).
      return error instanceof StoreUnavailable ? options.backoffMs * 2 : options.backoffMs;
    }
  };

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) await pause(await look());
  };
  const ended = loop();

  return {
    nudge: () => rest.abort(),
    async stop() {
      stopping.abort();
      await ended;
    },
  };
}
