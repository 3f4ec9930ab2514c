import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { EpochMs } from "../core/clock.ts";
import type { z } from "zod";
import type { JobDefinition } from "./define-job.ts";
import { openRedis, type RedisAddress } from "./redis-connection.ts";

/**
 * The hand-over from the database to workers: two BullMQ queues holding only work that may run now.
 *
 * States of a job: waiting → active → gone. It is removed whatever its outcome, tried once, never
 * delayed: waiting, retrying and remembering are the row's business (ARCHITECTURE.md, *Waiting*).
 */
export const QUEUE_NAMES = ["interactive", "background"] as const;
export type QueueName = (typeof QUEUE_NAMES)[number];

/** BullMQ's key prefix; the hash tag keeps a queue's keys on one node of a Redis Cluster. */
export const QUEUE_PREFIX = "{ballast-queue}";

export interface WorkQueue {
  /**
   * Enqueue, once for each claim of the row. Throws `RedisUnavailable` when Redis cannot be asked. Of one
   * claim a second add is nothing; but a later claim is a job of its own, since BullMQ would swallow it
   * while a job of the same id is still ending, and the row would wait until its claim runs out.
   */
  add<Context, Schema extends z.ZodType>(
    definition: JobDefinition<Context, Schema>,
    payload: z.output<Schema>,
    claim: { readonly claimedAt: EpochMs },
  ): Promise<void>;
  /** Jobs waiting to be taken by a worker. */
  waiting(name: QueueName): Promise<number>;
  close(): Promise<void>;
}

/** Redis cannot be reached. */
export class RedisUnavailable extends Error {
  override readonly name = "RedisUnavailable";
  readonly code = "BALLAST_REDIS_UNAVAILABLE";
}

/**
 * Connect, and wait until Redis answers, because a BullMQ queue whose first command fails stays broken.
 * Rejects with `RedisUnavailable` after `connectWithinMs`. Later outages fail single calls only.
 */
export async function openWorkQueue(
  options: { readonly redis: RedisAddress; readonly connectWithinMs: number },
  deps: { readonly onError: (error: Error) => void },
): Promise<WorkQueue> {
  const connection = openRedis(
    options.redis,
    // A producer that waits for a Redis that is gone would hold up whoever asked; the row is marked anyway.
    { enableOfflineQueue: false, maxRetriesPerRequest: 0, commandTimeout: 5_000 },
    deps.onError,
  );
  await waitUntilReady(connection, options.connectWithinMs);
  const open = (name: QueueName): Queue => {
    const queue = new Queue(name, {
      connection,
      prefix: QUEUE_PREFIX,
      skipWaitingForReady: true,
      defaultJobOptions: { attempts: 1, removeOnComplete: true, removeOnFail: true },
    });
    queue.on("error", deps.onError);
    return queue;
  };
  const queues: Record<QueueName, Queue> = {
    interactive: open("interactive"),
    background: open("background"),
  };

  return {
    async add(definition, payload, { claimedAt }) {
      const parsed = definition.payload.parse(payload);
      const name = definition.classOf(parsed) === "interactive" ? "interactive" : "background";
      const jobId = `${definition.dedupeKey(parsed)}-${String(claimedAt)}`;
      await asking(() => queues[name].add(definition.name, parsed, { jobId }));
    },
    waiting: (name) => asking(() => queues[name].getWaitingCount()),
    async close() {
      await Promise.all(QUEUE_NAMES.map((name) => queues[name].close()));
      connection.disconnect();
    },
  };
}

/** The driver's words ("Stream isn't writeable …") help nobody: say what is wrong and what to look at. */
async function asking<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw new RedisUnavailable(
      "The queue's Redis does not answer. Is it running, and is REDIS_URL right?",
      { cause: error },
    );
  }
}

async function waitUntilReady(connection: Redis, withinMs: number): Promise<void> {
  let trouble: Error | undefined;
  const onError = (error: Error): void => {
    trouble = error;
  };
  connection.on("error", onError);
  const isReady = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), withinMs);
    connection.once("ready", () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
  connection.off("error", onError);
  if (isReady) return;
  connection.disconnect();
  throw new RedisUnavailable(
    `Redis did not answer within ${String(withinMs / 1_000)} s (${trouble?.message ?? "no answer"}). Is it running, and is REDIS_URL right?`,
    { cause: trouble },
  );
}
