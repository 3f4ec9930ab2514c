import type { NumberRow } from "./number-row.ts";

/** A run and what is needed to know whether it may be judged. */
export interface StalledRun {
  /** Longest stall of the process that counts arrivals. */
  readonly stallMs: number;
}

const TRIES = 3;

/**
 * A run in which arrivals were noted later than D allows proves nothing: it is repeated, and after the third time
 * handed over as it is, for `unlessStalled` to say so.
 */
export async function runUntilJudgeable<T extends StalledRun>(
  run: () => Promise<T>,
  { transitMs, say }: { readonly transitMs: number; readonly say: (line: string) => void },
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    const seen = await run();
    if (seen.stallMs <= transitMs || attempt === TRIES) return seen;
    say(`who counts arrivals stalled for ${Math.round(seen.stallMs)} ms: again`);
  }
}

/** The row as it is, or, when its last try stalled too, one that meets nothing. */
export function unlessStalled(
  row: NumberRow,
  { stallMs, transitMs }: StalledRun & { readonly transitMs: number },
): NumberRow {
  if (row.isMet === undefined || stallMs <= transitMs) return row;
  return { ...row, measured: `not judged (stall ${Math.round(stallMs)} ms)`, isMet: false };
}
