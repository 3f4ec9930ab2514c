/** Thrown inside this room only: what was to be expanded is more than one series may cost. */
export class BudgetSpent extends Error {
  override readonly name = "BudgetSpent";
  readonly by: "steps" | "time";

  constructor(by: "steps" | "time") {
    super(`Spent, by ${by}`);
    this.by = by;
  }
}

/** How much work is left. */
export interface WorkBudget {
  /** Throws {@link BudgetSpent} when no more is left. */
  spend(steps: number): void;
  spent(): number;
}

/** How often the clock is looked at, in steps: reading it costs as much as a step. */
const STEPS_PER_LOOK = 1_024;

/**
 * Bounds an expansion by steps, and by time: a step may cost more than anyone thought. `workedMs` is time
 * that this thread has worked: a machine that is busy with others must not make a series unknown.
 * State: what is left; for one series.
 */
export function createWorkBudget(
  limits: { readonly maxSteps: number; readonly maxMs: number },
  workedMs: () => number,
): WorkBudget {
  let endsAtMs: number | undefined;
  let spent = 0;
  let lookAt = STEPS_PER_LOOK;
  return {
    spend(steps) {
      spent += steps;
      if (spent > limits.maxSteps) throw new BudgetSpent("steps");
      if (spent < lookAt) return;
      lookAt = spent + STEPS_PER_LOOK;
      // Most series never come here: the first thousand steps are free of looks.
      endsAtMs ??= workedMs() + limits.maxMs;
      if (workedMs() > endsAtMs) throw new BudgetSpent("time");
    },
    spent: () => spent,
  };
}
