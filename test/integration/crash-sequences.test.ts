import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { freshPostgresDatabase } from "../conformance/fresh-postgres.ts";
import type { Came } from "../support/crash-judge.ts";
import type { Fate } from "../support/crash-steps.ts";
import { openCrashWorld, type CrashWorld, type Happening } from "../support/crash-world.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DATABASES = {
  sqlite: {
    runs: 12,
    open: async () => `sqlite:${join(await temporaryDirectory(), "ballast.db")}`,
  },
  postgres: { runs: 3, open: freshPostgresDatabase },
};

const nothingYet = (): Came => ({
  crashes: {
    "before-write": 0,
    "in-write": 0,
    "after-write": 0,
    "before-request": 0,
    "after-request": 0,
  },
  fencedOut: 0,
  pagesGoneOn: 0,
  tokenDeaths: 0,
  publishes: 0,
});

const calendar = fc.integer({ min: 0, max: 1 });
/** A refresh of one page has about ten steps, one of eight pages about sixty. */
const at = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 16 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 60 }) },
);
const act = fc.oneof(
  { weight: 4, arbitrary: fc.constant("crash" as const) },
  { weight: 2, arbitrary: fc.constant("hold" as const) },
  { weight: 1, arbitrary: fc.constant("meddle" as const) },
  { weight: 1, arbitrary: fc.constant("refuse" as const) },
);
const fate: fc.Arbitrary<Fate | undefined> = fc.option(fc.record({ at, act }), {
  nil: undefined,
  freq: 5,
});

const happening: fc.Arbitrary<Happening> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("change" as const),
      calendar,
      count: fc.integer({ min: 1, max: 12 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("kill-token" as const), calendar }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("request" as const),
      calendar,
      class: fc.constantFrom("interactive", "push", "poll", "backfill"),
      mode: fc.constantFrom("incremental", "full"),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("refresh" as const),
      calendar,
      isWanted: fc.constantFrom(true, true, false),
      fate,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("discover" as const), fate }) },
  { weight: 1, arbitrary: fc.constant({ do: "wake" as const }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("pass" as const),
      ms: fc.constantFrom(1_000, 40_000, 80_000, 80_000, 3_600_000),
    }),
  },
);

const REFRESH = { do: "refresh", calendar: 0, isWanted: true, fate: undefined } as const;

/** Crash the refresh of the first calendar at that step, then recover; was there such a step? */
async function crashAt(world: CrashWorld, step: number): Promise<boolean> {
  const diedAt = await world.happen({ ...REFRESH, fate: { at: step, act: "crash" } });
  await world.happen({ do: "change", calendar: 0, count: 4 });
  await world.recover();
  expect(await world.problems()).toEqual([]);
  return diedAt !== undefined;
}

const STEPS_AT_MOST = 60;

/** Crash a listing of several pages at its first step, then at its second, until it has no more: how many? */
async function crashAtEachStep(
  { databaseUrl }: { readonly databaseUrl: string },
  before: readonly Happening[],
): Promise<number> {
  const came = nothingYet();
  const world = await openCrashWorld({ seed: 3, pageSize: 9, databaseUrl }, came);
  await world.happen(REFRESH);
  let step = 1;
  for (; step < STEPS_AT_MOST; step += 1) {
    for (const one of before) await world.happen(one);
    if (!(await crashAt(world, step))) break;
  }
  expect(Math.min(...Object.values(came.crashes))).toBeGreaterThan(1);
  return step;
}

const sequence = fc.record({
  seed: fc.integer({ min: 0, max: 1_000 }),
  pageSize: fc.integer({ min: 2, max: 9 }),
  happenings: fc.array(happening, { minLength: 8, maxLength: 24, size: "max" }),
});

describe.for(Object.entries(DATABASES))("on %s", ([, { runs, open }]) => {
  test("any sequence of changes, requests, refreshes and crashes keeps I4 to I7 and ends as Google is", async () => {
    const came = nothingYet();
    await fc.assert(
      fc.asyncProperty(sequence, async ({ happenings, ...needs }) => {
        const world = await openCrashWorld({ ...needs, databaseUrl: await open() }, came);
        for (const one of happenings) await world.happen(one);
        await world.recover();
        expect(await world.problems()).toEqual([]);
      }),
      { numRuns: runs },
    );
    const crashes = Object.values(came.crashes).reduce((sum, count) => sum + count);
    expect(crashes).toBeGreaterThan(runs / 2);
    expect(came.publishes).toBeGreaterThan(runs);
  }, 300_000);

  test("a crash at each single step of an incremental read of several pages loses nothing", async () => {
    const steps = await crashAtEachStep({ databaseUrl: await open() }, [
      { do: "change", calendar: 0, count: 16 },
    ]);
    expect(steps).toBeLessThan(STEPS_AT_MOST);
  }, 180_000);
});

test("a crash at each single step of a full read after a dead token loses nothing", async () => {
  const steps = await crashAtEachStep({ databaseUrl: await DATABASES.sqlite.open() }, [
    { do: "change", calendar: 0, count: 5 },
    { do: "kill-token", calendar: 0 },
  ]);
  expect(steps).toBeLessThan(STEPS_AT_MOST);
}, 180_000);

test("a crash at each single step of a calendar's first read loses nothing", async () => {
  const came = nothingYet();
  for (let step = 1; step < STEPS_AT_MOST; step += 1) {
    const needs = { seed: 3, pageSize: 9, databaseUrl: await DATABASES.sqlite.open() };
    if (!(await crashAt(await openCrashWorld(needs, came), step))) break;
  }
  expect(Math.min(...Object.values(came.crashes))).toBeGreaterThan(1);
}, 180_000);
