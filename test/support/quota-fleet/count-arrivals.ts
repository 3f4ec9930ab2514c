/** The most arrivals in any half-open span of `windowMs`; times in any order. */
export function mostInAnyWindow(times: readonly number[], windowMs: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  let most = 0;
  let oldest = 0;
  sorted.forEach((time, index) => {
    while (time - (sorted[oldest] ?? time) >= windowMs) oldest += 1;
    most = Math.max(most, index - oldest + 1);
  });
  return most;
}

/**
 * The part of a limit that saturating work used: a window over the mean time from an arrival to the one `limit` later.
 * Whole rounds are measured, so it does not matter at which part of a burst the run began or ended. 0: no whole round.
 */
export function partOfLimitUsed(
  times: readonly number[],
  { windowMs, limit }: { readonly windowMs: number; readonly limit: number },
): number {
  const sorted = times.toSorted((a, b) => a - b);
  const rounds = sorted
    .slice(limit)
    .map((time, index) => time - (sorted[index] ?? Number.NEGATIVE_INFINITY));
  if (rounds.length === 0) return 0;
  return windowMs / (rounds.reduce((sum, round) => sum + round, 0) / rounds.length);
}
