import type { Redis } from "ioredis";
import { describe, expect, vi } from "vitest";
import type { ClaimRoom } from "../../src/core/claim-room.ts";
import { systemClock } from "../../src/core/clock.ts";
import { consumer } from "../../src/core/ids.ts";
import { LedgerUnavailable } from "../../src/core/refusal.ts";
import { createClaimRoomReader } from "../../src/quota/read-claim-room.ts";
import { createManualClock } from "../support/manual-clock.ts";
import { lane } from "../support/ledger-parts.ts";
import { test } from "../support/redis-test.ts";
import { openScriptedLedger, type ScriptedLedger } from "../support/scripted-ledger.ts";

const WITHIN_MS = 500;
const UNPACED = { pacingBurst: 0.1 };

function readRoom(ledger: ScriptedLedger): Promise<ClaimRoom> {
  return createClaimRoomReader(
    { consumer: consumer("ballast-worker"), withinMs: WITHIN_MS, believedForMs: 0 },
    { ledger: { run: (operation, args) => ledger.call(operation, args) }, clock: systemClock },
  )();
}

async function open(
  redis: Redis,
  settings: Readonly<Record<string, unknown>>,
  day?: Parameters<typeof openScriptedLedger>[2],
): Promise<ScriptedLedger> {
  return openScriptedLedger(redis, { ...UNPACED, ...settings }, day);
}

describe("how much background work the budget would let out", () => {
  test("is what a paced class is granted within the moment", async ({ redis }) => {
    const ledger = await open(redis, { pacingBurst: 0.002 });
    const { poll } = await readRoom(ledger);
    let granted = 0;
    for (let ms = 0; ms <= WITHIN_MS; ms += 5) {
      await ledger.at(ms);
      const [answer] = await ledger.ask([[lane({ class: "poll" }), 5]]);
      granted += answer?.granted ?? 0;
    }
    expect(poll).toEqual({ requests: granted, heldBy: undefined });
    expect(granted).toBeGreaterThan(1);
  });

  test("counts what will have left the window by then", async ({ redis }) => {
    const ledger = await open(redis, {});
    for (let ms = 0; ms < 10; ms += 1) {
      await ledger.at(ms * 20);
      await ledger.ask([[lane(), 10]]);
    }
    await ledger.at(9_000);
    expect((await readRoom(ledger)).poll).toEqual({
      requests: 0,
      heldBy: { limit: "project-minute", detail: "" },
    });
    // The first ten leave at 10,301, the next ten 20 ms later.
    await ledger.at(10_301 - WITHIN_MS);
    expect((await readRoom(ledger)).poll.requests).toBe(10);
    await ledger.at(10_325 - WITHIN_MS);
    expect((await readRoom(ledger)).poll.requests).toBe(15);
  });

  test("leaves out what calls of its class and of those above it wait for", async ({ redis }) => {
    const ledger = await open(redis, { pacingBurst: 0.002 });
    const [granted] = await ledger.ask([[lane({ class: "poll" }), 1]]);
    expect(granted?.granted).toBe(1);
    const before = await readRoom(ledger);
    await ledger.ask([[lane({ class: "poll" }), 3]]);
    const during = await readRoom(ledger);
    expect(during.poll).toEqual({ requests: before.poll.requests - 3, heldBy: undefined });
    expect(during.push).toEqual(before.push);
    expect(during.backfill.requests).toBe(before.backfill.requests - 3);
    await ledger.at(5_000);
    expect((await readRoom(ledger)).poll.requests).toBeGreaterThanOrEqual(before.poll.requests);
  });

  test("leaves a class the reserve of those above it, in the window and in the day", async ({
    redis,
  }) => {
    const ledger = await open(
      redis,
      {
        perDay: 100,
        classReserve: { push: 0, poll: 0.1, backfill: 0.95 },
        dayReserve: { push: 0, poll: 0.5, backfill: 0.5 },
      },
      { startedMsAgo: 0, endsInMs: 86_400_000, count: 60 },
    );
    const room = await readRoom(ledger);
    expect(room.push.requests).toBeGreaterThan(0);
    for (const work of ["poll", "backfill", "discovery", "watch"] as const) {
      expect(room[work]).toEqual({ requests: 0, heldBy: { limit: "day", detail: "" } });
    }
  });

  test("is none of what a pause, a stop or an open breaker holds, and a probe's worth after that", async ({
    redis,
  }) => {
    const ledger = await open(redis, {});
    const limits = async (): Promise<readonly (string | undefined)[]> => {
      const { push, poll, discovery } = await readRoom(ledger);
      return [push, poll, discovery].map(({ heldBy }) => heldBy?.limit);
    };
    expect(await limits()).toEqual([undefined, undefined, undefined]);
    await ledger.configure({ ...UNPACED, "pause.test.class:poll": { reason: "planned" } });
    expect(await limits()).toEqual([undefined, "pause", "pause"]);
    expect((await readRoom(ledger)).poll.heldBy?.detail).toContain("planned");
    await ledger.configure({
      ...UNPACED,
      "pause.test.operation:events.list": { reason: "a test" },
    });
    expect(await limits()).toEqual(["pause", "pause", undefined]);
    await ledger.configure({ ...UNPACED, "pause.test.consumer:ballast-worker": {} });
    expect(await limits()).toEqual(["pause", "pause", "pause"]);
    await ledger.configure(UNPACED);
    await ledger.call("trip", ["calendar"]);
    expect(await limits()).toEqual(["breaker", "breaker", "breaker"]);
    await ledger.at(60_000);
    expect((await readRoom(ledger)).poll).toEqual({ requests: 1, heldBy: undefined });
  });

  test("a tenant's own limits, whose calendars are not known yet, do not count", async ({
    redis,
  }) => {
    const ledger = await open(redis, { userPerMinute: 1, defaultTenantCap: 0.01 });
    expect((await readRoom(ledger)).poll.requests).toBeGreaterThan(1);
  });

  test("to ask costs nothing", async ({ redis }) => {
    const ledger = await open(redis, {});
    for (let asks = 0; asks < 50; asks += 1) await readRoom(ledger);
    expect(await ledger.ask([[lane(), 100]])).toMatchObject([{ granted: 100 }]);
  });
});

test("a ledger that is away or not open has no room, and says so", async () => {
  const clock = systemClock;
  const options = { consumer: consumer("test"), withinMs: 500, believedForMs: 0 };
  const read = createClaimRoomReader(options, {
    ledger: { run: () => Promise.reject(new LedgerUnavailable({ message: "away" })) },
    clock,
  });
  expect((await read()).push).toEqual({
    requests: 0,
    heldBy: { limit: "ledger-unavailable", detail: "" },
  });
  const header = ["forgotten", "flushed", "1", "epoch-1", "4", "1800000000000", "0", "1"];
  const forgotten = createClaimRoomReader(options, {
    ledger: { run: () => Promise.resolve([header, []]) },
    clock,
  });
  expect((await forgotten()).poll).toEqual({
    requests: 0,
    heldBy: { limit: "ledger-forgotten", detail: "flushed" },
  });
});

test("an answer is believed for a moment, and all who want to know share one ask", async () => {
  const clock = createManualClock();
  const run = vi.fn<() => Promise<never>>(() =>
    Promise.reject(new LedgerUnavailable({ message: "away" })),
  );
  const read = createClaimRoomReader(
    { consumer: consumer("test"), withinMs: 500, believedForMs: 250 },
    { ledger: { run }, clock },
  );
  await Promise.all([read(), read(), read()]);
  await clock.advance(249);
  await read();
  expect(run).toHaveBeenCalledTimes(1);
  await clock.advance(1);
  await read();
  expect(run).toHaveBeenCalledTimes(2);
});
