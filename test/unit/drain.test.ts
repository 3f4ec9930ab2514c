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

test("a step is told when its time is up", async () => {
  const clock = createManualClock();
  let reason: unknown;
  const step: DrainStep = {
    name: "worker",
    run: (signal) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          reason = signal.reason;
          reject(new Error("interrupted, too late for the report"));
        });
      }),
  };
  const drained = runDrain([step], { deadlineMs: 50, clock });
  await clock.advance(50);

  expect(await drained).toEqual([{ name: "worker", outcome: "timed-out", tookMs: 50 }]);
  expect(reason).toEqual(new Error("Shutdown: worker ran out of time"));
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
