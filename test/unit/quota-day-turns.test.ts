import { expect, test } from "vitest";
import { dayTurns } from "../../src/quota/day-turns.ts";

const options = { timeZone: "America/Los_Angeles", count: 3 };
const iso = (ms: number): string => new Date(ms).toISOString();

test("the day turns at midnight in Los Angeles", () => {
  const { startedAt, turns } = dayTurns(Date.UTC(2026, 0, 5, 12), options);
  expect(iso(startedAt)).toBe("2026-01-05T08:00:00.000Z");
  expect(turns.map(iso)).toEqual([
    "2026-01-06T08:00:00.000Z",
    "2026-01-07T08:00:00.000Z",
    "2026-01-08T08:00:00.000Z",
  ]);
});

test("the day of the spring change has 23 hours, that of the autumn change 25", () => {
  const spring = dayTurns(Date.UTC(2026, 2, 8, 20), options);
  expect(iso(spring.startedAt)).toBe("2026-03-08T08:00:00.000Z");
  expect(spring.turns.map(iso)[0]).toBe("2026-03-09T07:00:00.000Z");
  const autumn = dayTurns(Date.UTC(2026, 10, 1, 23, 30, 0, 250), options);
  expect(iso(autumn.startedAt)).toBe("2026-11-01T07:00:00.000Z");
  expect(autumn.turns.map(iso)[0]).toBe("2026-11-02T08:00:00.000Z");
});

test("midnight itself belongs to the new day", () => {
  const midnight = Date.UTC(2026, 0, 6, 8);
  expect(dayTurns(midnight, options).startedAt).toBe(midnight);
  expect(iso(dayTurns(midnight - 1, options).startedAt)).toBe("2026-01-05T08:00:00.000Z");
});
