/**
 * A sleep that can be cut short: one sleeper, any number of wakers.
 * States: awake, asleep; `wake` while awake makes the next `until` return at once, so that no wake is lost.
 */
import type { Clock } from "../core/clock.ts";

export interface Doze {
  wake(): void;
  /** Sleep for `durationMs` (undefined: until woken). */
  sleep(durationMs: number | undefined): Promise<void>;
}

export function createDoze(deps: { readonly clock: Clock }): Doze {
  let isWoken = false;
  let wakeSleeper: (() => void) | undefined;

  return {
    wake: () => {
      isWoken = true;
      wakeSleeper?.();
    },
    sleep: async (durationMs) => {
      if (!isWoken) {
        const timer = new AbortController();
        await new Promise<void>((resolve) => {
          wakeSleeper = resolve;
          if (durationMs !== undefined) {
            deps.clock.sleep(durationMs, timer.signal).then(resolve, resolve);
          }
        });
        wakeSleeper = undefined;
        timer.abort();
      }
      isWoken = false;
    },
  };
}
