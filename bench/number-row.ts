/** One line of the table of numbers: what was measured, for whom, and whether it holds. */
export interface NumberRow {
  /** Of the budget's table: "1", "2a". */
  readonly number: string;
  readonly measure: string;
  /** "ballast", "control: …" or the name of a peer. */
  readonly stack: string;
  readonly goal: string;
  /** The figure, for a reader. */
  readonly measured: string;
  /** The figures, for a program. */
  readonly figures: Readonly<Record<string, number>>;
  /** Undefined: a peer, shown and not judged. */
  readonly isMet: boolean | undefined;
}

/** How a benchmark is run. */
export interface BenchOptions {
  /** Judge counts and states only, in shorter windows. */
  readonly isShort: boolean;
  readonly seed: number;
  readonly say: (line: string) => void;
  /** A server that is not ours, which counts for itself. */
  readonly foreign?: {
    readonly apiRootUrl: string;
    readonly tokenUrl: string;
    readonly refreshTokens: readonly string[];
  };
}
