import { assert, double, integer, nat, option, property, record } from "fast-check";
import { describe, expect, test } from "vitest";
import { epochMs } from "../../src/core/clock.ts";
import type { PollCensus, PollFacts, PollKind } from "../../src/core/poll-store.ts";
import {
  createPlanPoll,
  intervalOf,
  parsePollPlan,
  planPolls,
  pollKindOf,
  type PollIntervals,
  type PollLimits,
  type PollPlan,
} from "../../src/sync/plan-polls.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW = epochMs(1_800_000_000_000);
const INTERVALS: PollIntervals = { pollMs: 900_000, safetyMs: DAY_MS, listsMs: 6 * HOUR_MS };
const LIMITS: PollLimits = {
  perDay: 1_000_000,
  perMinute: 10_000,
  dayReserve: 0.15,
  minuteReserve: 0.1,
};
const NOBODY = { first: 0, live: 0, unproven: 0, active: 0, idle: 0, unwatchable: 0, slowed: 0 };

function census(
  calendars: Partial<PollCensus["calendars"]>,
  rest: Partial<Omit<PollCensus, "calendars">> = {},
): PollCensus {
  return {
    calendars: { ...NOBODY, ...calendars },
    accounts: 0,
    channelLifeMs: 30 * DAY_MS,
    silence: { replaced: 0, told: 0 },
    ...rest,
  };
}

function plan(of: PollCensus, limits: PollLimits = LIMITS): PollPlan {
  return planPolls({ census: of, limits, intervals: INTERVALS }, NOW);
}

function hoursOf(of: PollPlan, kind: PollPlan["kinds"][number]["kind"]): number {
  return (of.kinds.find((one) => one.kind === kind)?.intervalMs ?? 0) / HOUR_MS;
}

describe("the plan of polls", () => {
  test("polls as configured where the day has room for it", () => {
    const made = plan(census({ live: 1_000, active: 1_000, idle: 1_000 }, { accounts: 500 }));
    expect(made.factor).toBe(1);
    expect(made.kinds.every((one) => one.intervalMs === one.baseMs)).toBe(true);
    expect(made.polls).toBe(1_000 + 96_000 + 24_000 + 2_000);
  });

  test("a million watched calendars fit into a day of a million requests, renewals and the reserve included", () => {
    const made = plan(census({ live: 1_000_000 }, { accounts: 300_000 }));
    expect(made.renewals.requestsPerDay).toBeCloseTo(2_000_000 / 25.5);
    expect(made.reserve).toBeCloseTo(150_000);
    expect(made.sum).toBeLessThanOrEqual(1_000_000);
    expect(made.left).toBeGreaterThanOrEqual(0);
    // A safety poll a day each would be a million alone.
    expect(made.factor).toBeGreaterThan(1.4);
    expect(hoursOf(made, "live")).toBeCloseTo(24 * made.factor);
    expect(made.sum - made.reserve).toBeGreaterThan(849_000);
  });

  test("a million calendars that nobody watches fit as well; at their interval they would be 96 days' worth", () => {
    const made = plan(census({ active: 900_000, idle: 100_000 }));
    expect(made.sum).toBeLessThanOrEqual(1_000_000);
    expect(hoursOf(made, "active")).toBeGreaterThan(24);
  });

  test("those that can wait wait first, and the others only when that is not enough", () => {
    const some = plan(census({ active: 5_000, idle: 20_000, unproven: 3_000 }));
    expect(some.factor).toBe(1);
    expect(hoursOf(some, "active")).toBe(0.25);
    expect(hoursOf(some, "idle")).toBeGreaterThan(1);
    expect(hoursOf(some, "idle")).toBeLessThan(24);
    const many = plan(census({ live: 200_000, active: 50_000, idle: 20_000 }));
    expect(many.factor).toBe(1);
    expect(hoursOf(many, "idle")).toBeCloseTo(24);
    expect(hoursOf(many, "active")).toBeGreaterThan(1);
    expect(hoursOf(many, "active")).toBeLessThan(6);
    expect(hoursOf(many, "live")).toBe(24);
    const tooMany = plan(census({ live: 700_000, active: 200_000, idle: 100_000 }));
    expect(tooMany.factor).toBeGreaterThan(1);
    expect(hoursOf(tooMany, "active")).toBeCloseTo(6 * tooMany.factor);
    expect(hoursOf(tooMany, "idle")).toBeCloseTo(24 * tooMany.factor);
    expect(hoursOf(tooMany, "live")).toBeCloseTo(24 * tooMany.factor);
  });

  test("the minute binds where it is the smaller one", () => {
    const made = plan(census({ active: 10_000 }), { ...LIMITS, perMinute: 100 });
    expect(made.limit).toEqual({ perDay: 144_000, boundBy: "minute" });
    expect(made.sum).toBeLessThanOrEqual(144_000);
  });

  test("whatever there is to poll, the day's and the minute's limit hold and the reserve stays", () => {
    const count = integer({ min: 0, max: 3_000_000 });
    const share = double({ min: 0, max: 0.9, noNaN: true });
    assert(
      property(
        record({
          calendars: record({
            first: count,
            live: count,
            unproven: count,
            active: count,
            idle: count,
            unwatchable: count,
            slowed: integer({ min: 0, max: 10_000 }),
          }),
          accounts: count,
          channelLifeMs: option(integer({ min: HOUR_MS, max: 30 * DAY_MS }), {
            nil: undefined,
          }),
          silence: record({ replaced: nat(100), told: nat(100) }),
        }),
        record({
          perDay: integer({ min: 1_000, max: 100_000_000 }),
          perMinute: integer({ min: 10, max: 1_000_000 }),
          dayReserve: share,
          minuteReserve: share,
        }),
        record({
          pollMs: integer({ min: 1_000, max: 7 * DAY_MS }),
          safetyMs: integer({ min: 1_000, max: 7 * DAY_MS }),
          listsMs: integer({ min: HOUR_MS, max: DAY_MS }),
        }),
        (generated, limits, intervals) => {
          const made = planPolls({ census: generated, limits, intervals }, NOW);
          const byDay = limits.perDay * (1 - limits.dayReserve);
          const byMinute = limits.perMinute * 1_440 * (1 - limits.minuteReserve);
          const mayUse = Math.min(byDay, byMinute);
          const sent = made.kinds.reduce(
            (sum, { count: calendars, intervalMs }) => sum + (calendars * DAY_MS) / intervalMs,
            0,
          );
          // Polls never take more than what is left for them, counted anew from the intervals alone.
          expect(sent).toBeLessThanOrEqual(made.forPolls * (1 + 1e-9));
          const fixed = made.renewals.requestsPerDay + made.slowed.requestsPerDay;
          // Where renewals alone are too many, polls keep a hundredth, and the plan says that it does not fit.
          const hasRoom = fixed <= mayUse * 0.89;
          expect((sent + fixed) * 1.1 <= mayUse * (1 + 1e-9) || !hasRoom).toBe(true);
          expect(sent).toBeLessThanOrEqual(mayUse * (hasRoom ? 1 : 0.03));
          expect(made.left >= -1e-3 || !hasRoom).toBe(true);
          expect(made.left < 0 || fixed * 1.1 <= mayUse).toBe(true);
          const shortened = made.kinds.filter(({ baseMs, intervalMs }) => intervalMs < baseMs);
          expect(shortened).toEqual([]);
          // Nothing is stretched that need not be.
          expect(made.factor === 1 || sent > made.forPolls * 0.99 - 1).toBe(true);
          expect(parsePollPlan(structuredClone(made))).toEqual(made);
        },
      ),
      { numRuns: 500 },
    );
  });

  test("a silent push path is told by channels of which none has told anything since they replaced silent ones", () => {
    const silences = [
      { replaced: 4, told: 0 },
      { replaced: 5, told: 0 },
      { replaced: 100, told: 1 },
    ];
    const told = silences.map((silence) => plan(census({ live: 10 }, { silence })).isPushSilent);
    expect(told).toEqual([false, true, false]);
  });
});

const UNWATCHED: PollFacts = {
  watchState: "unwatched",
  generation: 3,
  changedAt: epochMs(NOW - 30 * DAY_MS),
  readAt: undefined,
  channel: undefined,
  isSilent: false,
};
const CHANNEL: NonNullable<PollFacts["channel"]> = {
  createdAt: epochMs(NOW - HOUR_MS),
  expiresAt: epochMs(NOW + DAY_MS),
  lastMessageAt: undefined,
  reason: "first",
};
const WATCHED: PollFacts = { ...UNWATCHED, watchState: "watched", channel: CHANNEL };
const TOLD = { ...CHANNEL, lastMessageAt: epochMs(NOW - DAY_MS) };

describe("the kind of a calendar", () => {
  const kindOf = (facts: PollFacts, at: { hasPush?: boolean; isPushSilent?: boolean } = {}) =>
    pollKindOf(facts, { now: NOW, hasPush: true, isPushSilent: false, ...at });

  const cases: readonly (readonly [string, PollFacts, PollKind])[] = [
    ["unwatched and quiet", UNWATCHED, "idle"],
    ["read lately", { ...UNWATCHED, readAt: epochMs(NOW - DAY_MS) }, "active"],
    ["read long ago", { ...UNWATCHED, readAt: epochMs(NOW - 3 * DAY_MS) }, "idle"],
    ["changed lately", { ...UNWATCHED, changedAt: epochMs(NOW - 6 * DAY_MS) }, "active"],
    ["a channel that has told", { ...WATCHED, channel: TOLD }, "live"],
    ["a channel that has told nothing", WATCHED, "unproven"],
    [
      "a channel that had nothing to tell for a day",
      { ...WATCHED, channel: { ...CHANNEL, createdAt: epochMs(NOW - DAY_MS) } },
      "live",
    ],
    ["renewed in time", { ...WATCHED, channel: { ...CHANNEL, reason: "expiring" } }, "live"],
    ["a channel found silent", { ...WATCHED, channel: TOLD, isSilent: true }, "unproven"],
    ["a channel that is over", { ...WATCHED, channel: { ...TOLD, expiresAt: NOW } }, "idle"],
    ["a channel that is not there", { ...WATCHED, channel: undefined }, "idle"],
    [
      "unwatchable and read, as all of an account's are",
      { ...UNWATCHED, watchState: "unwatchable", readAt: NOW },
      "unwatchable",
    ],
    [
      "unwatchable, just read for the first time",
      { ...UNWATCHED, watchState: "unwatchable", generation: 1, changedAt: NOW },
      "unwatchable",
    ],
    [
      "unwatchable and changed since",
      { ...UNWATCHED, watchState: "unwatchable", changedAt: NOW },
      "active",
    ],
  ];
  test.each(cases)("%s", (_, facts, kind) => {
    expect(kindOf(facts)).toBe(kind);
  });

  test("no channel counts as alive while nothing reaches us, and none counts at all without an address", () => {
    const facts = { ...WATCHED, channel: TOLD };
    expect(kindOf(facts, { isPushSilent: true })).toBe("unproven");
    expect(kindOf(facts, { hasPush: false })).toBe("idle");
  });
});

describe("the next poll", () => {
  test("comes after the planned interval, give or take a quarter, whatever the plan was made for", () => {
    const made = plan(census({ live: 2_000_000 }));
    const due = (random: number): number =>
      createPlanPoll(
        { intervals: INTERVALS, hasPush: true },
        { plan: () => made, random: () => random },
      )({ ...WATCHED, channel: TOLD }, NOW).dueAt - NOW;
    const every = hoursOf(made, "live") * HOUR_MS;
    expect(every).toBeGreaterThan(2 * DAY_MS);
    expect(due(0)).toBe(Math.round(every * 0.75));
    expect(due(1)).toBe(Math.round(every * 1.25));
  });

  test("is as configured until there is a plan, and stretched alike where the plan was made for other intervals", () => {
    const intervals = { ...INTERVALS, pollMs: 60_000 };
    expect(intervalOf("active", { plan: undefined, intervals })).toBe(60_000);
    const made = plan(census({ active: 100_000 }));
    const stretched = hoursOf(made, "active") / 0.25;
    expect(stretched).toBeGreaterThan(10);
    expect(intervalOf("active", { plan: made, intervals })).toBeCloseTo(60_000 * stretched);
  });
});
