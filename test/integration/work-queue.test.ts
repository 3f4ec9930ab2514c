import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { expect, vi } from "vitest";
import { z } from "zod";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import { REQUEST_CLASSES } from "../../src/core/request.ts";
import { defineJob, runnable } from "../../src/queue/define-job.ts";
import { runWorkers, type FinishedRun } from "../../src/queue/run-worker.ts";
import {
  openWorkQueue,
  QUEUE_PREFIX,
  RedisUnavailable,
  type WorkQueue,
} from "../../src/queue/work-queue.ts";
import { test as base, type RedisConnection } from "../support/redis-test.ts";

interface Context {
  readonly ran: string[];
  readonly hold: Promise<unknown>;
}

const sayWord = defineJob<Context>()({
  name: "say-word",
  payload: z.object({ word: z.string(), class: z.enum(REQUEST_CLASSES) }),
  dedupeKey: ({ word }) => `say-word-${word}`,
  classOf: (payload) => payload.class,
  async run({ ran, hold }, { word }, { signal }) {
    if (word === "hold") {
      await Promise.race([
        hold,
        new Promise((resolve) => signal.addEventListener("abort", resolve)),
      ]);
    }
    if (word === "bug") throw new TypeError("a bug");
    ran.push(word);
    return { outcome: signal.aborted ? "interrupted" : "said", facts: { word } };
  },
});

const addressOf = ({ path, db }: RedisConnection): string => `unix://${path}?db=${String(db)}`;

interface Bench {
  readonly queue: WorkQueue;
  /** Enqueue by a claim of its own. */
  add(payload: Parameters<typeof sayWord.run>[1]): Promise<void>;
  readonly ran: string[];
  readonly finished: FinishedRun[];
  readonly aside: { readonly job: string; readonly problem: string }[];
  start(): void;
  drain(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

type OpenBench = (hold?: Promise<unknown>) => Promise<Bench>;

const test = base.extend<{ openBench: OpenBench }>({
  openBench: async ({ redisConnection }, use) => {
    const benches: Bench[] = [];
    await use(async (hold) => {
      const bench = await createBench(redisConnection, hold);
      benches.push(bench);
      return bench;
    });
    for (const bench of benches) await bench.close();
  },
});

async function createBench(
  connection: RedisConnection,
  hold: Promise<unknown> = Promise.resolve(),
): Promise<Bench> {
  const redis = addressOf(connection);
  const errors: Error[] = [];
  const onError = (error: Error): void => {
    errors.push(error);
  };
  const queue = await openWorkQueue({ redis, connectWithinMs: 5_000 }, { onError });
  const finished: FinishedRun[] = [];
  const ran: string[] = [];
  const aside: { job: string; problem: string }[] = [];
  const running: { pool: ReturnType<typeof runWorkers> | undefined } = { pool: undefined };
  const drain = async (signal = AbortSignal.timeout(5_000)): Promise<void> => {
    await running.pool?.drain(signal);
    running.pool = undefined;
  };
  let claims = 0;
  return {
    queue,
    add(payload) {
      claims += 1;
      return queue.add(sayWord, payload, { claimedAt: epochMs(claims) });
    },
    ran,
    finished,
    aside,
    drain,
    async close() {
      await drain();
      await queue.close();
      expect(errors).toEqual([]);
    },
    start() {
      running.pool = runWorkers<Context>(
        { redis, jobLockMs: 30_000, concurrency: { interactive: 1, background: 1 } },
        {
          context: { ran, hold },
          jobs: [runnable(sayWord)],
          clock: systemClock,
          onFinished: (run) => {
            finished.push(run);
          },
          setAside: ({ job, problem }) => {
            aside.push({ job, problem });
            return Promise.resolve();
          },
          onError,
        },
      );
    },
  };
}

const said = (bench: Bench, count: number): Promise<void> =>
  vi.waitFor(() => expect(bench.finished.length).toBeGreaterThanOrEqual(count), 60_000);

test("I8: a payload that does not parse is set aside with its reason and stops nobody", async ({
  openBench,
  redisConnection,
}) => {
  const bench = await openBench();
  const connection = new Redis({ ...redisConnection, maxRetriesPerRequest: null });
  const raw = new Queue("background", { connection, prefix: QUEUE_PREFIX });
  await raw.add("say-word", { word: 7, class: "poll" });
  await raw.add("no-such-job", { secret: "do not print" });
  await raw.close();
  connection.disconnect();
  await bench.add({ word: "after", class: "poll" });
  bench.start();
  await said(bench, 3);
  expect(bench.ran).toEqual(["after"]);
  expect(bench.aside).toEqual([
    { job: "say-word", problem: "word: invalid_type" },
    { job: "no-such-job", problem: "no job of this name is known to this build" },
  ]);
  expect(await bench.queue.waiting("background")).toBe(0);
});

test("I10: a job that throws is told as crashed, is not tried again and stops nobody", async ({
  openBench,
}) => {
  const bench = await openBench();
  await bench.add({ word: "bug", class: "poll" });
  await bench.add({ word: "after", class: "poll" });
  bench.start();
  await said(bench, 2);
  expect(bench.finished.map(({ outcome }) => outcome)).toEqual(["crashed", "said"]);
  expect(bench.finished[0]?.error).toBeInstanceOf(TypeError);
});

test("an urgent job overtakes its own background job, and neither swallows the other", async ({
  openBench,
}) => {
  const hold = Promise.withResolvers<undefined>();
  const bench = await openBench(hold.promise);
  await bench.add({ word: "hold", class: "poll" });
  for (const word of ["a", "b", "c"]) await bench.add({ word, class: "poll" });
  await bench.add({ word: "c", class: "interactive" });
  bench.start();
  await said(bench, 1);
  expect(bench.ran).toEqual(["c"]);
  hold.resolve(undefined);
  await said(bench, 5);
  expect(bench.ran).toEqual(["c", "hold", "a", "b", "c"]);
});

test("of one claim only one job waits; the next claim is not swallowed by a job that is still ending", async ({
  openBench,
}) => {
  const hold = Promise.withResolvers<undefined>();
  const bench = await openBench(hold.promise);
  const claimedAt = epochMs(1_000);
  const payload = { word: "hold", class: "push" } as const;
  for (let n = 0; n < 5; n += 1) await bench.queue.add(sayWord, payload, { claimedAt });
  expect(await bench.queue.waiting("background")).toBe(1);
  bench.start();
  await vi.waitFor(async () => expect(await bench.queue.waiting("background")).toBe(0), 60_000);
  await bench.queue.add(sayWord, payload, { claimedAt: epochMs(2_000) });
  expect(await bench.queue.waiting("background")).toBe(1);
  hold.resolve(undefined);
  await said(bench, 2);
});

test("draining lets a running job end, and aborts it when the time is up", async ({
  openBench,
}) => {
  const bench = await openBench(new Promise(() => undefined));
  await bench.add({ word: "hold", class: "poll" });
  await bench.add({ word: "next", class: "poll" });
  bench.start();
  await vi.waitFor(async () => expect(await bench.queue.waiting("background")).toBe(1), 60_000);
  const deadline = new AbortController();
  const drained = bench.drain(deadline.signal);
  deadline.abort(new Error("time is up"));
  await drained;
  expect(bench.finished.map(({ outcome }) => outcome)).toEqual(["interrupted"]);
  // What was not begun waits for another worker.
  expect(await bench.queue.waiting("background")).toBe(1);
});

test("a Redis that does not answer is said in time, with what to look at", async () => {
  const opening = openWorkQueue(
    { redis: "/nowhere/redis.sock", connectWithinMs: 300 },
    { onError: () => undefined },
  );
  await expect(opening).rejects.toThrow(RedisUnavailable);
  await expect(opening).rejects.toThrow(/REDIS_URL/);
});
