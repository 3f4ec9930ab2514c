import { expect, test } from "vitest";
import { runDrain, type DrainStep } from "../../src/core/drain.ts";
import { createManualClock } from "../support/manual-clock.ts";

const done = (name: string): DrainStep => ({ name, run: () => Promise.resolve() });
const hanging = (name: string): DrainStep => ({ name, run: () => new Promise(() => {}) });

test("steps run in order, one after the other", async () => {
  const clock = createManualClock();
  const order: string[] = [];
  const step = (name: string): DrainStep => ({
    name,
    run: async (signal) => {
      order.push(`${name} begins`);
      await clock.sleep(10, signal);
      order.push(`${name} ends`);
    },
  });
  const drained = runDrain([step("a"), step("b")], { deadlineMs: 1_000, clock });
  await clock.advance(20);

  expect(await drained).toEqual([
    { name: "a", outcome: "done", tookMs: 10 },
    { name: "b", outcome: "done", tookMs: 10 },
  ]);
  expect(order).toEqual(["a begins", "a ends", "b begins", "b ends"]);
});

test("a step that hangs is left behind, and those after it still get their time", async () => {
  const clock = createManualClock();
  const drained = runDrain([hanging("worker"), hanging("queue"), done("database")], {
    deadlineMs: 900,
    clock,
  });
  await clock.advance(900);

  expect(await drained).toEqual([
    { name: "worker", outcome: "timed-out", tookMs: 300 },
    { name: "queue", outcome: "timed-out", tookMs: 300 },
    { name: "database", outcome: "done", tookMs: 0 },
  ]);
});

test("a step is told in time, and what it still does then is waited for", async () => {
  const clock = createManualClock();
  const order: string[] = [];
  const worker: DrainStep = {
    name: "worker",
    run: async (signal) => {
      await new Promise((resolve) => {
        signal.addEventListener("abort", resolve);
      });
      order.push(String(signal.reason));
      await clock.sleep(10, new AbortController().signal);
      order.push("the worker has given its jobs back");
    },
  };
  const database: DrainStep = {
    name: "database",
    run: () => {
      order.push("the database closes");
      return Promise.resolve();
    },
  };
  const drained = runDrain([worker, database], { deadlineMs: 200, clock });
  await clock.advance(200);

  expect(await drained).toEqual([
    { name: "worker", outcome: "done", tookMs: 85 },
    { name: "database", outcome: "done", tookMs: 0 },
  ]);
  expect(order).toEqual([
    "Error: Shutdown: worker is running out of time",
    "the worker has given its jobs back",
    "the database closes",
  ]);
});

test("a step with more to do may take more of the time", async () => {
  const clock = createManualClock();
  const drained = runDrain([{ ...hanging("workers"), weight: 3 }, hanging("database")], {
    deadlineMs: 400,
    clock,
  });
  await clock.advance(400);
  expect((await drained).map(({ tookMs }) => tookMs)).toEqual([300, 100]);
});

test("a step that fails, even before its promise, does not stop the next", async () => {
  const clock = createManualClock();
  const error = new Error("socket already closed");
  const report = await runDrain(
    [
      { name: "rejects", run: () => Promise.reject(error) },
      {
        name: "throws",
        run: () => {
          throw error;
        },
      },
      done("database"),
    ],
    { deadlineMs: 1_000, clock },
  );
  expect(report.map(({ name, outcome }) => [name, outcome])).toEqual([
    ["rejects", "failed"],
    ["throws", "failed"],
    ["database", "done"],
  ]);
  expect(clock.sleepers()).toBe(0);
});
