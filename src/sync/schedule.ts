import { epochMs, type EpochMs } from "../core/clock.ts";
import type { Refused } from "../core/refusal.ts";

/** A number in [0, 1); injected so that tests can choose it. */
export type Random = () => number;

const SPREAD = 0.25;
const BACKOFF_BASE_MS = 2_000;
const BACKOFF_CAP_MS = 30 * 60_000;

/** A moment one interval from now, ±25 %: Google asks that periodic work be spread. */
export function nextPollAt(now: EpochMs, intervalMs: number, random: Random): EpochMs {
  return epochMs(Math.round(now + intervalMs * (1 - SPREAD + 2 * SPREAD * random())));
}

/**
 * How long to leave a row alone after its `consecutive`th failure in a row (1 for the first):
 * full jitter over a doubling range, with a floor of a quarter so that a crowd does not come at once.
 */
export function backoffMs(consecutive: number, random: Random): number {
  const range = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.min(consecutive - 1, 20));
  return Math.round(range * (0.25 + 0.75 * random()));
}

/** A calendar that is set aside is tried again so often. */
export const SLOWED_INTERVAL_MS = 6 * 3_600_000;

/** When Google refuses a whole client, or a clock is off: often enough to notice the end, and no more. */
export const ASK_ALARMED_AGAIN_MS = 3 * 60_000;

/** A pause that does not say when it ends: soon enough once it is lifted, and no churn until then. */
const ASK_PAUSED_AGAIN_MS = 60_000;

/** For how long a refusal of our own makes it pointless to ask again; undefined: it does not say. */
export function waitAfterRefusal({ code, retryAfterMs }: Refused): number | undefined {
  return retryAfterMs ?? (code === "BALLAST_PAUSED" ? ASK_PAUSED_AGAIN_MS : undefined);
}
