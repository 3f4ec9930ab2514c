import { systemClock } from "../../src/core/clock.ts";

/** Generous: a scenario waits for states, and says which one did not come. */
const WAIT_MS = 600_000;
const LOOK_EVERY_MS = 100;

/** Let time pass. */
export function pause(durationMs: number): Promise<void> {
  return systemClock.sleep(durationMs, new AbortController().signal);
}

/** Look until it is so; throws, naming it, when it does not become so. */
export async function waitUntil(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS;
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) throw new Error(`Not in time: ${what}`);
    await pause(LOOK_EVERY_MS);
  }
}

/** The value below which this part of them lies, to the millisecond. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0);
}
