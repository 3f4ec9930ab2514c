import { epochMs, type Clock, type EpochMs } from "../../src/core/clock.ts";

/** A clock that moves only when the test says so. */
export interface ManualClock extends Clock {
  /** Move both times forward, waking sleepers in the order of their wake-up times. */
  advance(durationMs: number): Promise<void>;
  /** Set the wall clock, as an operator or NTP would; sleepers and durations do not notice. */
  stepWallClock(byMs: number): void;
  /** How many are asleep, so that a test can wait for the code under test to reach its sleep. */
  sleepers(): number;
}

interface Sleeper {
  readonly wakeAtMs: number;
  readonly wake: () => void;
}

/** Start a manual clock at a fixed moment, or at `startMs`. */
export function createManualClock(startMs = Date.UTC(2026, 0, 5, 12)): ManualClock {
  let elapsedMs = 0;
  let wallOffsetMs = startMs;
  const asleep = new Set<Sleeper>();

  const now = (): EpochMs => epochMs(wallOffsetMs + elapsedMs);
  const earliestUntil = (limitMs: number): Sleeper | undefined =>
    [...asleep]
      .filter((sleeper) => sleeper.wakeAtMs <= limitMs)
      .toSorted((a, b) => a.wakeAtMs - b.wakeAtMs)[0];

  return {
    now,
    monotonicMs: () => elapsedMs,
    sleep: (durationMs, signal) =>
      new Promise((resolve, reject) => {
        const fail = (): void => {
          const reason: unknown = signal.reason;
          reject(reason instanceof Error ? reason : new Error("Aborted", { cause: reason }));
        };
        if (signal.aborted) {
          fail();
          return;
        }
        const onAbort = (): void => {
          asleep.delete(sleeper);
          fail();
        };
        const sleeper: Sleeper = {
          wakeAtMs: elapsedMs + Math.max(0, durationMs),
          wake: () => {
            asleep.delete(sleeper);
            signal.removeEventListener("abort", onAbort);
            resolve();
          },
        };
        asleep.add(sleeper);
        signal.addEventListener("abort", onAbort, { once: true });
      }),
    advance: async (durationMs) => {
      const targetMs = elapsedMs + durationMs;
      // A woken sleeper may sleep again within the same advance: let it run before looking for the next one.
      await settle();
      for (let next = earliestUntil(targetMs); next !== undefined; next = earliestUntil(targetMs)) {
        elapsedMs = Math.max(elapsedMs, next.wakeAtMs);
        next.wake();
        await settle();
      }
      elapsedMs = targetMs;
    },
    stepWallClock: (byMs) => {
      wallOffsetMs += byMs;
    },
    sleepers: () => asleep.size,
  };
}

/** Let everything that can run without time passing run: a macrotask comes after all microtasks. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
