import { Worker, type Job } from "bullmq";
import type { Clock } from "../core/clock.ts";
import type { JobReport, RunnableJob } from "./define-job.ts";
import { openRedis, type RedisAddress } from "./redis-connection.ts";
import { removeUnreadable } from "./unreadable-jobs.ts";
import { QUEUE_NAMES, QUEUE_PREFIX, type QueueName } from "./work-queue.ts";

/** What one run of a job was and became: the source of the run record. */
export interface FinishedRun {
  readonly queue: QueueName;
  readonly job: string;
  readonly jobId: string;
  /** `set-aside`: the payload does not parse; `crashed`: a bug, caught here and nowhere above (I10). */
  readonly outcome: string;
  readonly facts: JobReport["facts"];
  readonly queueWaitMs: number;
  readonly durationMs: number;
  readonly error: unknown;
}

export interface WorkerPool {
  /** Stop taking jobs, let running ones end, abort them when `signal` aborts, then close. */
  drain(signal: AbortSignal): Promise<void>;
  readonly runningCount: () => number;
}

/** What the worker of a queue is built from. */
interface WorkerOptions {
  readonly redis: RedisAddress;
  readonly concurrency: Readonly<Record<QueueName, number>>;
  /** How long a job stays its worker's without a sign of life; then another worker runs it. */
  readonly jobLockMs: number;
}

interface WorkerDeps<Context> {
  readonly context: Context;
  readonly jobs: readonly RunnableJob<Context>[];
  readonly clock: Clock;
  readonly onFinished: (run: FinishedRun) => void;
  /** A payload that no job of ours can parse: kept by the receiver, so that nothing is lost. */
  readonly setAside: (aside: {
    readonly queue: QueueName;
    readonly job: string;
    readonly jobId: string;
    readonly problem: string;
  }) => Promise<void>;
  readonly onError: (error: Error) => void;
}

/**
 * Run jobs of both queues in this process. The job boundary: whatever a job throws ends here, is
 * told to `onFinished`, and never makes BullMQ try again (the row does).
 */
export function runWorkers<Context>(options: WorkerOptions, deps: WorkerDeps<Context>): WorkerPool {
  const stopping = new AbortController();
  const abort = (): void => stopping.abort(new Error("The worker is shutting down"));
  const running = { count: 0 };
  const runJob = createJobRunner(deps, stopping.signal);
  const workers = QUEUE_NAMES.map((queue) =>
    openWorker(queue, options, {
      onError: deps.onError,
      setAside: deps.setAside,
      process: async (job) => {
        running.count += 1;
        try {
          await runJob(queue, job);
        } finally {
          running.count -= 1;
        }
      },
    }),
  );

  return {
    runningCount: () => running.count,
    async drain(signal) {
      signal.addEventListener("abort", abort, { once: true });
      if (signal.aborted) abort();
      try {
        await Promise.all(workers.map(({ worker }) => worker.close()));
      } finally {
        signal.removeEventListener("abort", abort);
        for (const { disconnect } of workers) disconnect();
      }
    },
  };
}

function createJobRunner<Context>(
  deps: WorkerDeps<Context>,
  signal: AbortSignal,
): (queue: QueueName, job: Job) => Promise<void> {
  const jobs = new Map(deps.jobs.map((job) => [job.name, job]));

  const run = async (queue: QueueName, job: Job): Promise<JobReport> => {
    const prepared = jobs.get(job.name)?.prepare(job.data) ?? {
      kind: "unparseable",
      problem: "no job of this name is known to this build",
    };
    if (prepared.kind === "ready") return prepared.run(deps.context, { signal });
    const { problem } = prepared;
    await deps.setAside({ queue, job: job.name, jobId: job.id ?? "", problem });
    return { outcome: "set-aside", facts: { problem } };
  };

  return async (queue, job) => {
    const startedMs = deps.clock.monotonicMs();
    const queueWaitMs = Math.max(0, deps.clock.now() - job.timestamp);
    const finish = (report: JobReport): void => {
      deps.onFinished({
        queue,
        job: job.name,
        jobId: job.id ?? "",
        outcome: report.outcome,
        facts: report.facts,
        queueWaitMs,
        durationMs: deps.clock.monotonicMs() - startedMs,
        error: report.error,
      });
    };
    try {
      finish(await run(queue, job));
    } catch (error) {
      finish({ outcome: "crashed", facts: {}, error });
    }
  };
}

function openWorker(
  queue: QueueName,
  options: WorkerOptions,
  deps: {
    readonly process: (job: Job) => Promise<void>;
    readonly setAside: WorkerDeps<unknown>["setAside"];
    readonly onError: (error: Error) => void;
  },
): { readonly worker: Worker; readonly disconnect: () => void } {
  const connection = openRedis(options.redis, { maxRetriesPerRequest: null }, deps.onError);
  const worker = new Worker(queue, deps.process, {
    connection,
    prefix: QUEUE_PREFIX,
    concurrency: options.concurrency[queue],
    // By default a job fails at the second kill of its worker, and its calendar waits for the next claim.
    maxStalledCount: 10,
    lockDuration: options.jobLockMs,
    stalledInterval: options.jobLockMs / 2,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
  });
  worker.on("error", deps.onError);
  worker.on("stalled", (jobId) => {
    removeUnreadable(
      { jobId, keyOf: (name) => worker.toKey(name) },
      { redis: connection, settle: (found) => deps.setAside({ queue, jobId, ...found }) },
    ).catch(deps.onError);
  });
  return { worker, disconnect: () => connection.disconnect() };
}
