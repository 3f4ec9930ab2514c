/** What a scenario was asked to do. */
export interface ScenarioOptions {
  /** Small enough for the test suite: judged by counts and states only. */
  readonly short: boolean;
  readonly seed: number;
  /** A server that is not ours; without it the scenario runs its own simulator. */
  readonly foreign:
    | {
        readonly apiRootUrl: string;
        readonly tokenUrl: string;
        readonly refreshTokens: readonly string[];
      }
    | undefined;
  /** Talk, for the person who waits. */
  readonly say: (line: string) => void;
}

export interface ScenarioResult {
  /** Printed last, as one line of JSON. */
  readonly figures: Readonly<Record<string, number | string>>;
  /** Bounds that were missed, in words; empty when the scenario holds. */
  readonly missed: readonly string[];
}

export type Scenario = (options: ScenarioOptions) => Promise<ScenarioResult>;

/** A small PRNG (mulberry32), so that a run can be repeated from its seed. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Collects the bounds that a run missed. */
export function createBounds(): {
  readonly missed: readonly string[];
  atLeast(name: string, value: number, bound: number): void;
  atMost(name: string, value: number, bound: number): void;
} {
  const missed: string[] = [];
  return {
    missed,
    atLeast(name, value, bound) {
      if (!(value >= bound))
        missed.push(`${name} is ${String(value)}, at least ${String(bound)} is asked for`);
    },
    atMost(name, value, bound) {
      if (!(value <= bound))
        missed.push(`${name} is ${String(value)}, at most ${String(bound)} is allowed`);
    },
  };
}
