import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";

/** One run of a job, as wide as is known: what happened to which calendar, for whom, at what cost. */
export interface RunRecord {
  readonly queue: string;
  readonly job: string;
  readonly jobId: string;
  readonly outcome: string;
  readonly queueWaitMs: number;
  readonly durationMs: number;
  /** Ids, cause, consumer, class, attempt, failure code, quota wait, Google time, requests, events changed. */
  readonly facts: Readonly<Record<string, string | number | boolean | undefined>>;
  /** What was thrown; `undefined` for a run that went as planned. */
  readonly error: unknown;
}

/** Write one line and one set of figures per job run; the only place where a run is logged. */
export function createRunRecorder(deps: {
  readonly logger: Logger;
  readonly metrics: Metrics;
}): (run: RunRecord) => void {
  return (run) => {
    const { facts, error, queue, job, outcome, queueWaitMs, durationMs } = run;
    deps.logger.log(levelOf(run), "Job run", {
      ...facts,
      job,
      jobId: run.jobId,
      queue,
      outcome,
      queueWaitMs: Math.round(queueWaitMs),
      durationMs: Math.round(durationMs),
      ...(error === undefined ? {} : { error }),
    });
    if (outcome === "set-aside") {
      deps.metrics.jobUnparseable(queue);
      return;
    }
    deps.metrics.jobFinished({ queue, job, outcome, durationMs, queueWaitMs });
  };
}

function levelOf(run: RunRecord): "info" | "warn" | "error" {
  // Only a bug or a payload of somebody's needs a person; a postponed calendar is the system at work.
  if (run.outcome === "crashed") return "error";
  return run.outcome === "set-aside" ? "warn" : "info";
}
