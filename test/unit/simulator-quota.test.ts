import { array, assert as check, integer, nat, property, record } from "fast-check";
import { expect, test } from "vitest";
import { UNLIMITED, createQuota, quotaRefusal } from "../../src/simulator/quota.ts";
import type { QuotaLimits, QuotaScope } from "../../src/simulator/quota.ts";
import { createSlidingWindow } from "../../src/simulator/sliding-window.ts";

test("a sliding window holds exactly what the last window's length brought, and knows its busiest moment", () => {
  check(
    property(
      array(record({ gap: nat(400), weight: integer({ min: 1, max: 3 }) }), {
        maxLength: 120,
      }),
      (entries) => {
        const window = createSlidingWindow(1000);
        const seen: { atMs: number; weight: number }[] = [];
        let atMs = 0;
        let peak = 0;
        for (const { gap, weight } of entries) {
          atMs += gap;
          window.add(atMs, weight);
          seen.push({ atMs, weight });
          const inside = seen.filter((entry) => entry.atMs > atMs - 1000);
          const total = inside.reduce((sum, entry) => sum + entry.weight, 0);
          peak = Math.max(peak, total);
          expect(window.total(atMs)).toBe(total);
          expect(window.size()).toBe(inside.length);
        }
        expect(window.peak()).toBe(peak);
        expect(window.total(atMs + 1000)).toBe(0);
      },
    ),
  );
});

function admitAll(
  limits: Partial<QuotaLimits>,
  arrivals: readonly [number, string, string?][],
): (QuotaScope | "ok")[] {
  const quota = createQuota({ ...UNLIMITED, windowSeconds: 10, ...limits });
  return arrivals.map(
    ([atMs, quotaUser, operation = "events.list"]) =>
      quota.admit({ project: "p", quotaUser, operation, atMs }) ?? "ok",
  );
}

test("the project's window admits exactly its limit, and again as soon as the oldest is one window old", () => {
  const arrivals: [number, string][] = [
    [0, "a"],
    [1, "b"],
    [2, "c"],
    [10_000, "a"],
    [10_001, "a"],
  ];
  expect(admitAll({ projectPerWindow: 2, countsRejected: false }, arrivals)).toEqual([
    "ok",
    "ok",
    "project",
    "ok",
    "ok",
  ]);
  // Rejected requests count: the one at 2 ms still fills the window.
  expect(admitAll({ projectPerWindow: 2 }, arrivals)).toEqual([
    "ok",
    "ok",
    "project",
    "project",
    "project",
  ]);
});

test("quota users have windows of their own", () => {
  expect(
    admitAll({ userPerWindow: 1 }, [
      [0, "a"],
      [0, "b"],
      [1, "a"],
    ]),
  ).toEqual(["ok", "ok", "quota-user"]);
});

test("a weight counts against the windows, not against the day", () => {
  const limits = { projectPerWindow: 6, perDay: 3, weights: { "events.patch": 3 } };
  expect(
    admitAll(limits, [
      [0, "a", "events.patch"],
      [0, "a", "events.patch"],
      [0, "a"],
      [20_000, "a"],
    ]),
  ).toEqual(["ok", "ok", "project", "day"]);
});

test("the day turns at midnight in its zone", () => {
  // 07:59 UTC on 5 January is 23:59 in Los Angeles.
  const beforeMidnight = Date.UTC(2026, 0, 5, 7, 59, 59);
  expect(
    admitAll({ perDay: 1 }, [
      [beforeMidnight, "a"],
      [beforeMidnight + 500, "a"],
      [beforeMidnight + 1000, "a"],
    ]),
  ).toEqual(["ok", "day", "ok"]);
});

test("limits change for the next request, and what was counted stays counted", () => {
  const quota = createQuota({ ...UNLIMITED, projectPerWindow: 10, windowSeconds: 10 });
  const arrival = { project: "p", quotaUser: "a", operation: "events.list", atMs: 5 };
  expect(quota.admit(arrival)).toBeUndefined();
  quota.setLimits({ projectPerWindow: 1 });
  expect(quota.admit(arrival)).toBe("project");
  expect(quota.used(5, "p")).toEqual({ window: 2, day: 0 });
});

function words(scope: QuotaScope): string {
  return quotaRefusal(scope, UNLIMITED, "123").message;
}

test("refusals carry Google's words, which alone tell the project's window from the user's", () => {
  expect(words("project")).toBe(
    "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'calendar-json.googleapis.com' for consumer 'project_number:123'.",
  );
  expect(words("quota-user")).toContain("limit 'Queries per minute per user' of service");
  expect(quotaRefusal("project", UNLIMITED, "1")).toMatchObject({
    status: 403,
    domain: "usageLimits",
    reason: "rateLimitExceeded",
  });
  const older = { rejectionStatus: 429, userReason: "userRateLimitExceeded" } as const;
  expect(quotaRefusal("quota-user", older, "1")).toMatchObject({
    status: 429,
    reason: "userRateLimitExceeded",
  });
});
