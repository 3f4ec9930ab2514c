/**
 * An exact sliding window over timed weights.
 *
 * State: the entries younger than the window, oldest first, in a ring of doubles that grows with the busiest window and
 * never with time. An entry leaves once it is exactly one window old.
 */
export interface SlidingWindow {
  /** Count something at this moment; moments must not go backwards. */
  add(atMs: number, weight: number): void;
  /** The weight inside the window that ends now. */
  total(nowMs: number): number;
  /** The largest total any window ever held. */
  peak(): number;
  /** How many entries are held now. */
  size(): number;
}

/** Create an empty window of this length. */
export function createSlidingWindow(windowMs: number): SlidingWindow {
  let times = new Float64Array(16);
  let weights = new Float64Array(16);
  let head = 0;
  let size = 0;
  let total = 0;
  let peak = 0;

  const grow = (): void => {
    const biggerTimes = new Float64Array(times.length * 2);
    const biggerWeights = new Float64Array(times.length * 2);
    for (let index = 0; index < size; index++) {
      const from = (head + index) & (times.length - 1);
      biggerTimes[index] = times[from] ?? 0;
      biggerWeights[index] = weights[from] ?? 0;
    }
    times = biggerTimes;
    weights = biggerWeights;
    head = 0;
  };
  const drop = (nowMs: number): void => {
    while (size > 0 && (times[head] ?? 0) <= nowMs - windowMs) {
      total -= weights[head] ?? 0;
      head = (head + 1) & (times.length - 1);
      size -= 1;
    }
  };

  return {
    add(atMs, weight) {
      drop(atMs);
      if (size === times.length) grow();
      const at = (head + size) & (times.length - 1);
      times[at] = atMs;
      weights[at] = weight;
      size += 1;
      total += weight;
      if (total > peak) peak = total;
    },
    total(nowMs) {
      drop(nowMs);
      return total;
    },
    peak: () => peak,
    size: () => size,
  };
}
