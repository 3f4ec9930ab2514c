import type { Clock } from "./clock.ts";

/** One part of a shutdown, in the order in which it must happen. */
export interface DrainStep {
  readonly name: string;
  /**
   * Told to hurry (`signal`) when three quarters of its time are over: what it does then, such as giving
   * work back, is still waited for. A step that is not done at the end of its time is left behind.
   */
  readonly run: (signal: AbortSignal) => Promise<void>;
  /** Its part of the time, against 1 for each other step. */
  readonly weight?: number;
}

/** What became of a step. */
export type DrainedStep = { readonly name: string; readonly tookMs: number } & (
  | { readonly outcome: "done" }
  | { readonly outcome: "timed-out" }
  | { readonly outcome: "failed"; readonly error: unknown }
);

const HURRY_AFTER = 0.75;

/**
 * Run every step in order within one deadline. Each may take its part of the time that is left, so a step
 * that hangs cannot starve those after it: giving back jobs and closing the database are still attempted.
 */
export async function runDrain(
  steps: readonly DrainStep[],
  options: { readonly deadlineMs: number; readonly clock: Clock },
): Promise<DrainedStep[]> {
  const { clock, deadlineMs } = options;
  const endsAtMs = clock.monotonicMs() + deadlineMs;
  const report: DrainedStep[] = [];
  let weightLeft = steps.reduce((sum, step) => sum + weightOf(step), 0);
  for (const step of steps) {
    const leftMs = Math.max(0, endsAtMs - clock.monotonicMs());
    report.push(await runStep(step, (leftMs * weightOf(step)) / weightLeft, clock));
    weightLeft -= weightOf(step);
  }
  return report;
}

function weightOf({ weight }: DrainStep): number {
  return weight ?? 1;
}

async function runStep(step: DrainStep, limitMs: number, clock: Clock): Promise<DrainedStep> {
  const startedMs = clock.monotonicMs();
  const stepTime = new AbortController();
  const settled = new AbortController();
  const hurry = new Error(`Shutdown: ${step.name} is running out of time`);
  const timeUp = passTime(clock, settled.signal, {
    limitMs,
    onHurry: () => stepTime.abort(hurry),
  });
  // Settles to a value either way, so a step that fails after its time rejects nobody (I10).
  const run = start(step, stepTime.signal).then(
    () => ({ outcome: "done" }) as const,
    (error: unknown) => ({ outcome: "failed", error }) as const,
  );
  const result = await Promise.race([run, timeUp]);
  settled.abort();
  return { name: step.name, tookMs: clock.monotonicMs() - startedMs, ...result };
}

/** Resolves when the time is up, having told of it in time; or, without a word, when the step is settled. */
async function passTime(
  clock: Clock,
  settled: AbortSignal,
  time: { readonly limitMs: number; readonly onHurry: () => void },
): Promise<{ readonly outcome: "timed-out" }> {
  try {
    await clock.sleep(time.limitMs * HURRY_AFTER, settled);
    time.onHurry();
    await clock.sleep(time.limitMs * (1 - HURRY_AFTER), settled);
  } catch (error) {
    if (!settled.aborted) throw error;
  }
  return { outcome: "timed-out" };
}

/** Also a step that throws before it returns its promise ends as a rejection. */
async function start(step: DrainStep, signal: AbortSignal): Promise<void> {
  await step.run(signal);
}
