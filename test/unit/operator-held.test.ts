import { expect, test } from "vitest";
import { epochMs } from "../../src/core/clock.ts";
import { projectId, tenantId } from "../../src/core/ids.ts";
import type { QuotaStatus } from "../../src/core/quota-status.ts";
import { whatHolds } from "../../src/operator-held.ts";
import { createManualClock } from "../support/manual-clock.ts";

const QUOTA: QuotaStatus = {
  minute: { limit: 100, used: 1 },
  day: { limit: 1_000, used: 10 },
  retryTokens: 100,
  stop: undefined,
  breakers: [],
  pauses: [],
};

function heldBy(
  pauses: Readonly<Record<string, unknown>>,
  quota: QuotaStatus | undefined = QUOTA,
): Promise<string | undefined> {
  const clock = createManualClock();
  const rows = Object.entries(pauses).map(([target, value]) => ({
    name: `pause.default.${target}`,
    value,
    updatedAt: clock.now(),
  }));
  return whatHolds(
    { projectId: projectId("default"), tenantId: tenantId("acme"), dueClass: "poll" },
    "ballast-worker",
    {
      clock,
      readQuota: () => Promise.resolve(quota),
      store: {
        settings: {
          get: () => Promise.resolve(undefined),
          set: () => Promise.resolve(),
          seed: () => Promise.resolve([]),
          list: (prefix) => Promise.resolve(rows.filter(({ name }) => name.startsWith(prefix))),
        },
      },
    },
  );
}

test("whatever pauses a calendar's work is named, with its reason", async () => {
  for (const target of ["project", "class:poll", "consumer:ballast-worker", "tenant:acme"]) {
    expect(await heldBy({ [target]: { reason: "incident 12" } })).toBe(
      `${target} is paused (incident 12)`,
    );
  }
});

test("another's pause, and one that has ended, hold nothing", async () => {
  const ended = { reason: "over", endsAt: 1 };
  expect(await heldBy({ "tenant:other": {}, "class:backfill": {}, project: ended })).toBe(
    undefined,
  );
});

test("a stop, an open breaker and a spent day are named", async () => {
  const until = epochMs(1);
  expect(await heldBy({}, { ...QUOTA, stop: { reason: "not-configured", until } })).toContain(
    "not-configured",
  );
  const breakers = [{ upstream: "calendar", openUntil: until }];
  expect(await heldBy({}, { ...QUOTA, breakers })).toContain("breaker");
  expect(await heldBy({}, { ...QUOTA, day: { limit: 10, used: 10 } })).toContain("day");
});
