import { expect, it } from "vitest";
import { secondsToRecover } from "../../bench/storm/read-storm.ts";
import { partOfLimitUsed } from "../support/quota-fleet/count-arrivals.ts";

const storm = (oks: readonly number[]): Parameters<typeof secondsToRecover>[0] =>
  oks.map((ok) => ({ sent: ok, first: ok, retry: 0, ok, rejected: 0, failed: 0 }));
const times = (count: number, ok: number): number[] => Array.from({ length: count }, () => ok);
const offered = { endsAt: 10, offeredPerSecond: 10 };

it("goodput is back from the moment it holds at to the end", () => {
  const seconds = storm([...times(10, 0), ...times(5, 0), ...times(80, 10)]);
  expect(secondsToRecover(seconds, offered)).toBe(5);
});

it("who catches up until the minute's limit is spent, and waits for the next, is back", () => {
  const caughtUp = [...times(24, 18), ...times(30, 10)];
  const spent = [...times(13, 4), ...times(8, 18)];
  const seconds = storm([...times(10, 0), ...caughtUp, ...spent, ...times(60, 10)]);
  expect(secondsToRecover(seconds, offered)).toBe(0);
});

it("goodput that comes back and sinks again is no recovery", () => {
  const seconds = storm([...times(10, 0), ...times(40, 10), ...times(20, 0), ...times(60, 1)]);
  expect(secondsToRecover(seconds, offered)).toBeUndefined();
});

it("a backlog that bursts through is no recovery", () => {
  const seconds = storm([...times(10, 0), 300, 300, 300, ...times(80, 2)]);
  expect(secondsToRecover(seconds, offered)).toBeUndefined();
});

it("the part of a limit that was used does not depend on where a burst was cut", () => {
  const bursts = [0, 12_500, 25_000].flatMap((at) => times(100, at).map((t, index) => t + index));
  const of = { windowMs: 10_000, limit: 100 };
  expect(partOfLimitUsed(bursts, of)).toBeCloseTo(0.8);
  expect(partOfLimitUsed(bursts.slice(37), of)).toBeCloseTo(0.8);
  expect(partOfLimitUsed(bursts.slice(0, 100), of)).toBe(0);
});
