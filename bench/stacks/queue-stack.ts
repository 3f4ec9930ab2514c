import { Queue, QueueEvents, Worker, type JobsOptions, type WorkerOptions } from "bullmq";
import { Redis } from "ioredis";
import type { Stack, StackOrders, WorkAccount } from "./orders.ts";

const QUEUE = "refresh";
/** A caller looks for its job once more after the event: a job that is gone by then would read as a failure. */
const KEEP_FINISHED = { age: 60 };

/** A queue, a worker with 50 at once, and callers that wait for their jobs: the usual shape of a sync service. */
export async function createQueueStack(
  { redis, accounts }: StackOrders,
  work: {
    readonly run: (account: WorkAccount) => Promise<void>;
    readonly job: JobsOptions;
    readonly worker?: Pick<WorkerOptions, "limiter">;
  },
): Promise<Stack> {
  const connection = (): Redis => new Redis(redis, { maxRetriesPerRequest: null });
  const connections = [connection(), connection(), connection()] as const;
  const queue = new Queue<{ index: number }>(QUEUE, { connection: connections[0] });
  const events = new QueueEvents(QUEUE, { connection: connections[1] });
  const worker = new Worker<{ index: number }>(
    QUEUE,
    async (job) => {
      const account = accounts[job.data.index];
      if (account) await work.run(account);
    },
    { connection: connections[2], concurrency: 50, ...work.worker },
  );
  // What a peer logs is not looked at; what it does is.
  queue.on("error", ignore);
  events.on("error", ignore);
  worker.on("error", ignore);
  // Each caller that waits for its job listens.
  queue.setMaxListeners(0);
  events.setMaxListeners(0);
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady(), worker.waitUntilReady()]);
  return {
    perform: async (account) => {
      const index = accounts.findIndex(({ name }) => name === account.name);
      const job = await queue.add(
        "refresh",
        { index },
        { removeOnComplete: KEEP_FINISHED, removeOnFail: KEEP_FINISHED, ...work.job },
      );
      await job.waitUntilFinished(events);
    },
    close: async () => {
      await worker.close(true);
      await events.close();
      await queue.close();
      for (const one of connections) one.disconnect();
    },
  };
}

function ignore(): void {
  // Nothing to do.
}
