import { describe, expect, test } from "vitest";
import type { CalendarCounts } from "../../src/core/calendar-store.ts";
import type { GrantHold } from "../../src/core/dead-grants.ts";
import type { PushHealth } from "../../src/core/channel-store.ts";
import { projectId } from "../../src/core/ids.ts";
import type { ProjectTrouble } from "../../src/core/project-troubles.ts";
import type { QuotaStatus } from "../../src/core/quota-status.ts";
import { epochMs } from "../../src/core/clock.ts";
import { LedgerUnavailable, StoreUnavailable } from "../../src/core/refusal.ts";
import { createStatus, type StatusDeps } from "../../src/operate/status.ts";

const COUNTS: CalendarCounts = {
  total: 10,
  never: 0,
  fresh: 10,
  stale: 0,
  slowed: 0,
  lost: 0,
  paused: 0,
};
const QUOTA: QuotaStatus = {
  minute: { limit: 10_000, used: 12 },
  day: { limit: 1_000_000, used: 999 },
  retryTokens: 100,
  stop: undefined,
  breakers: [],
  pauses: [],
};

const PUSH: PushHealth = {
  watched: 40,
  unwatched: 1,
  unwatchable: 2,
  opening: 0,
  stopping: 0,
  expiring: 0,
  silentReplaced: 0,
  silent: 0,
};

interface Facts {
  readonly counts?: () => Promise<CalendarCounts>;
  readonly push?: Partial<PushHealth>;
  readonly needsReconnect?: number;
  readonly holds?: readonly GrantHold[];
  readonly troubles?: readonly ProjectTrouble[];
  readonly readQuota?: StatusDeps["readQuota"];
}

const known =
  <T>(value: T) =>
  (): Promise<T> =>
    Promise.resolve(value);

function failing(failure: Error): () => Promise<never> {
  return () => Promise.reject(failure);
}

function statusOf(facts: Facts = {}): ReturnType<ReturnType<typeof createStatus>> {
  const readStatus = createStatus({
    calendars: {
      counts: facts.counts ?? known(COUNTS),
      backlog: known({ interactive: 0, push: 0, poll: 3, backfill: 0 }),
    },
    accounts: {
      countsByState: known({
        connected: 4,
        "needs-reconnect": facts.needsReconnect ?? 0,
        paused: 0,
        removed: 0,
      }),
    },
    channels: { health: known({ ...PUSH, ...facts.push }) },
    usage: { attempts: known({ first: 90, retry: 10 }) },
    deadGrants: { holds: known(facts.holds ?? []) },
    projectTroubles: { list: known(facts.troubles ?? []) },
    readQuota: facts.readQuota ?? known(QUOTA),
    clock: { now: () => epochMs(1_000), monotonicMs: () => 0, sleep: () => Promise.resolve() },
  });
  return readStatus();
}

test("all fresh is said in a sentence, with the figures that it rests on", async () => {
  expect(await statusOf()).toMatchObject({
    schemaVersion: 1,
    verdict: "ok",
    sentence: "Syncing normally: 10 of 10 calendars are fresh.",
    calendars: COUNTS,
    quota: { minute: QUOTA.minute, day: QUOTA.day, retryTokens: 100 },
    backlog: { poll: 3 },
    push: PUSH,
    retryShare: 0.1,
    deadLetters: 0,
  });
});

describe("what stops all work outranks what slows it", () => {
  test("a database that is gone", async () => {
    const counts = failing(new StoreUnavailable({ message: "the database is gone" }));
    expect(await statusOf({ counts })).toMatchObject({ verdict: "unknown", calendars: undefined });
  });

  test("a Redis that is gone", async () => {
    const readQuota = failing(new LedgerUnavailable({ message: "Redis is gone" }));
    expect(await statusOf({ readQuota })).toMatchObject({
      verdict: "stopped",
      sentence: "Redis cannot be asked for the quota, so no request leaves for Google.",
      quota: undefined,
    });
  });

  test("a ledger that is opening is no outage", async () => {
    const { verdict, sentence } = await statusOf({ readQuota: known("opening") });
    expect(verdict).toBe("stopped");
    expect(sentence).toMatch(/opening, which takes up to about a minute/);
  });

  test("a paused project", async () => {
    const pauses = [{ scope: "project", reason: "incident 12" }];
    expect(await statusOf({ readQuota: known({ ...QUOTA, pauses }) })).toMatchObject({
      verdict: "stopped",
      sentence: "Everything is paused: incident 12.",
      pauses,
    });
  });
});

test("an open breaker is Google's trouble, and says so", async () => {
  const breakers = [{ upstream: "calendar", openUntil: epochMs(9_000) }];
  expect(await statusOf({ readQuota: known({ ...QUOTA, breakers }) })).toMatchObject({
    verdict: "degraded",
    sentence: "Google's calendar is failing; only probes go out until it recovers.",
  });
});

test("accounts, set-aside and stale calendars are counted in the sentence", async () => {
  const counts = known({ ...COUNTS, fresh: 7, slowed: 2, stale: 1 });
  expect(await statusOf({ counts, needsReconnect: 1 })).toMatchObject({
    verdict: "degraded",
    sentence:
      "7 of 10 calendars are fresh; 1 account needs to reconnect; 2 calendars are set aside; 1 calendar is stale.",
    deadLetters: 2,
  });
});

test("accounts that are kept connected in a wave of refusals are said before anything about calendars", async () => {
  const holds = [{ projectId: projectId("default"), since: epochMs(1), failing: 12 }];
  const { verdict, sentence } = await statusOf({ holds, needsReconnect: 1 });
  expect(verdict).toBe("degraded");
  expect(sentence).toMatch(/12 lately.*none is disconnected until `ballast resume disconnects`/);
});

test("a client that Google refuses is said first, and so is a clock that is off", async () => {
  const trouble = {
    projectId: projectId("default"),
    code: "GCAL_CLIENT_MISCONFIGURED",
    detail: "invalid_client",
    since: epochMs(1_000),
    lastAt: epochMs(2_000),
  };
  expect(await statusOf({ troubles: [trouble], needsReconnect: 1 })).toMatchObject({
    verdict: "degraded",
    sentence: expect.stringContaining(
      "OAuth client or service account (invalid_client)",
    ) as unknown,
    alarms: [{ code: trouble.code, detail: "invalid_client", since: 1_000 }],
  });
  const skewed = { ...trouble, code: "GCAL_CLOCK_SKEWED", detail: "600 s ahead of Google's" };
  expect((await statusOf({ troubles: [skewed] })).sentence).toContain("600 s ahead of Google's");
});

test.each([
  ["one lost notification among many", { silent: 1 }, undefined],
  ["two of forty", { silent: 2 }, undefined],
  ["three of forty", { silent: 3 }, /do not arrive \(3 of 40 watched calendars changed/],
  ["nineteen of two thousand", { watched: 2_000, silent: 19 }, undefined],
  ["twenty of two thousand", { watched: 2_000, silent: 20 }, /20 of 2000/],
  ["the only one there is", { watched: 1, silent: 1 }, /1 of 1/],
])("a push path that is silent is said, and no single loss: %s", async (_what, push, said) => {
  const { verdict, sentence } = await statusOf({ push });
  expect(verdict).toBe(said === undefined ? "ok" : "degraded");
  expect(sentence).toMatch(said ?? "Syncing normally");
});

test("where nobody can ask the ledger, the calendars are judged alone", async () => {
  expect(await statusOf({ readQuota: known("not-asked") })).toMatchObject({
    verdict: "ok",
    quota: undefined,
  });
});

test("a bug is not taken for an outage", async () => {
  const counts = failing(new TypeError("a bug"));
  await expect(statusOf({ counts })).rejects.toThrow("a bug");
});
