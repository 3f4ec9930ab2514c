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
