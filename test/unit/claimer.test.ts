import { describe, expect, test } from "vitest";
import { StoreUnavailable } from "../../src/core/refusal.ts";
import { startClaimer, type ClaimLook } from "../../src/queue/claimer.ts";
import { createManualClock } from "../support/manual-clock.ts";

const RESTS = { busyRestMs: 20, idleRestMs: 250, backoffMs: 1_500 };

/** A claimer whose looks answer what the test says, and the moments of its looks. */
function startWatched(answer: () => ClaimLook | Error) {
  const clock = createManualClock();
  const looks: number[] = [];
  const errors: unknown[] = [];
  const claimer = startClaimer(RESTS, {
    clock,
    claim: () => {
      looks.push(clock.monotonicMs());
      const next = answer();
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
    },
    onError: (error) => {
      errors.push(error);
    },
  });
  return { clock, looks, errors, claimer };
}

describe("how long a claimer rests", () => {
  for (const [look, restMs] of [
    ["took", RESTS.busyRestMs],
    ["full", RESTS.busyRestMs],
    ["idle", RESTS.idleRestMs],
  ] as const) {
    test(`after a look that says ${look}`, async () => {
      const { clock, looks, claimer } = startWatched(() => look);
      await clock.advance(2 * restMs + 1);
      await claimer.stop();
      expect(looks).toEqual([0, restMs, 2 * restMs]);
    });
  }

  test("a look that fails is told and is not the last one; a database that is away is left alone longer", async () => {
    const away = new StoreUnavailable({ message: "away" });
    const answers: (ClaimLook | Error)[] = [new Error("Redis is away"), away, "idle"];
    const { clock, looks, errors, claimer } = startWatched(() => answers.shift() ?? "idle");
    await clock.advance(3 * RESTS.backoffMs + 1);
    await claimer.stop();
    expect(looks).toEqual([0, RESTS.backoffMs, 3 * RESTS.backoffMs]);
    expect(errors).toHaveLength(2);
  });
});

test("a nudge ends the rest, and one that comes during a look is not lost", async () => {
  let nudge: (() => void) | undefined;
  const { clock, looks, claimer } = startWatched(() => {
    nudge?.();
    nudge = undefined;
    return "idle";
  });
  await clock.advance(100);
  expect(looks).toEqual([0]);
  nudge = () => claimer.nudge();
  claimer.nudge();
  await clock.advance(1);
  await claimer.stop();
  expect(looks).toEqual([0, 100, 100]);
});
