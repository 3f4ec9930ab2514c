import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { describe, expect, vi } from "vitest";
import { z } from "zod";
import { systemClock } from "../../src/core/clock.ts";
import { defineJob, runnable } from "../../src/queue/define-job.ts";
import { runWorkers } from "../../src/queue/run-worker.ts";
import { QUEUE_NAMES, QUEUE_PREFIX } from "../../src/queue/work-queue.ts";
import { test as base, type RedisConnection } from "../support/redis-test.ts";

interface RawQueues {
  /** Put in a job whose `field` is then made garbage. */
  addGarbage(queue: string, jobId: string, field: string): Promise<void>;
  addGood(queue: string, word: string): Promise<void>;
  keysLeft(): Promise<readonly string[]>;
  close(): Promise<void>;
}

const test = base.extend<{ raw: RawQueues }>({
  raw: async ({ redisConnection }, use) => {
    const raw = openRaw(redisConnection);
    await use(raw);
    await raw.close();
  },
});

function openRaw(address: RedisConnection): RawQueues {
  const connection = new Redis({ ...address, maxRetriesPerRequest: null });
  const queues = new Map<string, Queue>(
    QUEUE_NAMES.map((name) => [name, new Queue(name, { connection, prefix: QUEUE_PREFIX })]),
  );
  const addGood = async (queue: string, word: string): Promise<void> => {
    await queues.get(queue)?.add("say-word", { word }, { jobId: word });
  };
  return {
    addGood,
    async addGarbage(queue, jobId, field) {
      await addGood(queue, jobId);
      await connection.hset(`${QUEUE_PREFIX}:${queue}:${jobId}`, field, "{not json");
    },
    keysLeft: async () => connection.keys("*garbage*"),
    async close() {
      for (const queue of queues.values()) await queue.close();
      connection.disconnect();
    },
  };
}

const sayWord = defineJob<string[]>()({
  name: "say-word",
  payload: z.object({ word: z.string() }),
  dedupeKey: ({ word }) => word,
  classOf: () => "poll",
  run(said, { word }) {
    said.push(word);
    return Promise.resolve({ outcome: "said", facts: {} });
  },
});

describe("I8: an entry that BullMQ itself cannot read", () => {
  for (const field of ["data", "opts", "progress"]) {
    test(`(${field}) stops no other job, in either queue, and is set aside instead of coming back for ever`, async ({
      raw,
      redisConnection,
    }) => {
      for (const queue of QUEUE_NAMES) {
        await raw.addGarbage(queue, `garbage-${queue}-1`, field);
        await raw.addGood(queue, `good-${queue}-1`);
        await raw.addGarbage(queue, `garbage-${queue}-2`, field);
        await raw.addGood(queue, `good-${queue}-2`);
      }
      const said: string[] = [];
      const aside: string[] = [];
      const errors: string[] = [];
      const pool = runWorkers<string[]>(
        {
          redis: `unix://${redisConnection.path}?db=${String(redisConnection.db)}`,
          jobLockMs: 600,
          concurrency: { interactive: 1, background: 1 },
        },
        {
          context: said,
          jobs: [runnable(sayWord)],
          clock: systemClock,
          onFinished: () => undefined,
          setAside: ({ queue, job, jobId, problem }) => {
            aside.push([queue, job, jobId, problem].join(" "));
            return Promise.resolve();
          },
          onError: ({ message }) => {
            errors.push(message);
          },
        },
      );
      try {
        await vi.waitFor(() => expect(said).toHaveLength(4), 60_000);
        await vi.waitFor(() => expect(new Set(aside).size).toBe(4), 60_000);
        await vi.waitFor(async () => expect(await raw.keysLeft()).toEqual([]), 60_000);
      } finally {
        await pool.drain(AbortSignal.timeout(3_000));
      }
      expect([...new Set(aside)].toSorted()).toEqual(
        ["background", "interactive"].flatMap((queue) =>
          [1, 2].map((n) => `${queue} say-word garbage-${queue}-${String(n)} not JSON: ${field}`),
        ),
      );
      // It happened: BullMQ did choke on them.
      expect(errors.filter((message) => message.includes("JSON")).length).toBeGreaterThanOrEqual(4);
    }, 90_000);
  }
});
