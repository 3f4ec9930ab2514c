import * as fc from "fast-check";
import { expect } from "vitest";
import { lane } from "../support/ledger-parts.ts";
import { test } from "../support/redis-test.ts";
import { openScriptedLedger } from "../support/scripted-ledger.ts";

/** One ask of one user: some requests, after a pause. */
interface Step {
  readonly afterMs: number;
  readonly user: number;
  readonly count: number;
}

const LIMITS = { projectPerMinute: 40, userPerMinute: 25 };
const SPAN_MS = 1_000 + 200 + 100;

/**
 * The arithmetic of the windows, written as plainly as possible and sharing nothing with the script: a request is
 * granted when, of all earlier ones within W+J+D, the project's and its user's units leave room for it.
 */
function createModel(units: number): { readonly ask: (step: Step, nowMs: number) => number } {
  const granted: { readonly atMs: number; readonly user: number; readonly units: number }[] = [];
  const unitsOf = (nowMs: number, user?: number): number =>
    granted
      .filter((one) => one.atMs + SPAN_MS >= nowMs && (user === undefined || one.user === user))
      .reduce((sum, one) => sum + one.units, 0);
  return {
    ask: ({ user, count }, nowMs) => {
      let given = 0;
      while (
        given < count &&
        unitsOf(nowMs) + units <= LIMITS.projectPerMinute &&
        unitsOf(nowMs, user) + units <= LIMITS.userPerMinute
      ) {
        granted.push({ atMs: nowMs, user, units });
        given += 1;
      }
      return given;
    },
  };
}

const steps = fc.array(
  fc.record({
    afterMs: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 1_400 })),
    user: fc.integer({ min: 0, max: 2 }),
    count: fc.integer({ min: 1, max: 20 }),
  }),
  { minLength: 1, maxLength: 40 },
);

test("I1: the script decides as the plain model does, on any sequence of asks", async ({
  redis,
}) => {
  let decided = 0;
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 4 }), async (sequence, weight) => {
      await redis.flushdb();
      const scripted = await openScriptedLedger(redis, {
        windowMs: 1_000,
        ...LIMITS,
        weights: { "events.get": weight },
      });
      const model = createModel(weight);
      let nowMs = 0;
      for (const step of sequence) {
        nowMs += step.afterMs;
        const expected = model.ask(step, nowMs);
        await scripted.at(nowMs);
        const of = lane({ user: `user-${step.user}`, operation: "events.get" });
        const [answer] = await scripted.ask([[of, step.count]]);
        expect({ step, granted: answer?.granted }).toEqual({ step, granted: expected });
        decided += 1;
      }
    }),
    { numRuns: 150 },
  );
  expect(decided).toBeGreaterThan(500);
});
