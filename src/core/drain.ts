import type { Clock } from "./clock.ts";

/** One part of a shutdown, in the order in which it must happen. */
export interface DrainStep {
  readonly name: string;
  /** Aborted when the step's time is up; a step that ignores it is left behind. */
  readonly run: (signal: AbortSignal) => Promise<void>;
}

/** What became of a step. */
export type DrainedStep = { readonly name: string; readonly tookMs: number } & (
  | { readonly outcome: "done" }
  | { readonly outcome: "timed-out" }
  | { readonly outcome: "failed"; readonly error: unknown }
);

/**
 * Run every step in order within one deadline. Each may take an equal part of the time that is left, so a step
 * that hangs cannot starve those after it: giving back jobs and closing the database are still attempted.
 */
export async function runDrain(
  steps: readonly DrainStep[],
  options: { readonly deadlineMs: number; readonly clock: Clock },
): Promise<DrainedStep[]> {
  const { clock, deadlineMs } = options;
  const endsAtMs = clock.monotonicMs() + deadlineMs;
  const report: DrainedStep[] = [];
  for (const [index, step] of steps.entries()) {
    const leftMs = Math.max(0, endsAtMs - clock.monotonicMs());
    report.push(await runStep(step, leftMs / (steps.length - index), clock));
  }
  return report;
}

async function runStep(step: DrainStep, limitMs: number, clock: Clock): Promise<DrainedStep> {
  const startedMs = clock.monotonicMs();
  const stepTime = new AbortController();
  const settled = new AbortController();
  const timeUp = clock.sleep(limitMs, settled.signal).then(
    () => ({ outcome: "timed-out" }) as const,
    () => ({ outcome: "done" }) as const,
  );
  // Settles to a value either way, so a step that fails after its time rejects nobody (I10).
  const run = start(step, stepTime.signal).then(
    () => ({ outcome: "done" }) as const,
    (error: unknown) => ({ outcome: "failed", error }) as const,
  );
  const result = await Promise.race([run, timeUp]);
  settled.abort();
  if (result.outcome === "timed-out") {
    stepTime.abort(new Error(`Shutdown: ${step.name} ran out of time`));
  }
  return { name: step.name, tookMs: clock.monotonicMs() - startedMs, ...result };
}

/** Also a step that throws before it returns its promise ends as a rejection. */
async function start(step: DrainStep, signal: AbortSignal): Promise<void> {
  await step.run(signal);
}
