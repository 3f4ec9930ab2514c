/** Milliseconds since the Unix epoch. Branded so that it cannot be mixed up with a duration. */
export type EpochMs = number & { readonly __unit: "epoch-ms" };

/** The only way code in this service learns the time or waits for it. */
export interface Clock {
  /** Wall-clock time; may step when the machine's clock is set. */
  now(): EpochMs;
  /** Milliseconds since an arbitrary origin; never steps. Use it to measure durations and deadlines. */
  monotonicMs(): number;
  /** Resolves after `durationMs`; rejects with `signal.reason` as soon as `signal` aborts. */
  sleep(durationMs: number, signal: AbortSignal): Promise<void>;
}

/** Mark a number as a moment. For values that come from a clock, a database or Google. */
export function epochMs(value: number): EpochMs {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one door into the brand
  return value as EpochMs;
}

/** The machine's clock. Tests pass a manual one instead. */
export const systemClock: Clock = {
  now: () => epochMs(Date.now()),
  monotonicMs: () => performance.now(),
  sleep: (durationMs, signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(asError(signal.reason));
        return;
      }
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(asError(signal.reason));
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      }, durationMs);
      signal.addEventListener("abort", onAbort, { once: true });
    }),
};

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error("Aborted", { cause: reason });
}
