import type { Clock } from "../core/clock.ts";
import { StoreUnavailable } from "../core/refusal.ts";

/**
 * Moves due rows from the database into the queue, a few at a time, for ever.
 *
 * States: looking → (took some → looking at once | nothing → resting | store gone → backing off) →
 * stopped. Several may run at once: a claim hides its rows from the others until `queuedUntil`, so a
 * crash between claim and enqueue costs a wait and needs no clean-up. What could not be enqueued is
 * claimed again when that moment has passed.
 */
export interface ClaimerOptions {
  /** Wait between looks while nothing is due. */
  readonly restMs: number;
  /** Wait after the database or Redis could not be asked. */
  readonly backoffMs: number;
}

export interface ClaimerDeps {
  readonly clock: Clock;
  /** Claim some due rows and enqueue them; how many were taken. Zero when the queue is full enough. */
  readonly claim: () => Promise<number>;
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
  let rest = new AbortController();

  const pause = async (durationMs: number): Promise<void> => {
    rest = new AbortController();
    const signal = AbortSignal.any([stopping.signal, rest.signal]);
    try {
      await deps.clock.sleep(durationMs, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  };

  const look = async (): Promise<number> => {
    try {
      return (await deps.claim()) > 0 ? 0 : options.restMs;
    } catch (error) {
      deps.onError(error);
      // Those who hold fetched pages store them first when the database is back (I13).
      return error instanceof StoreUnavailable ? options.backoffMs * 2 : options.backoffMs;
    }
  };

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const waitMs = await look();
      if (waitMs > 0) await pause(waitMs);
    }
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
