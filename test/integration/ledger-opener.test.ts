import { createHash, randomUUID } from "node:crypto";
import { expect } from "vitest";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import { LedgerUnavailable } from "../../src/core/refusal.ts";
import { collectUsage } from "../../src/quota/collect-usage.ts";
import { readLedgerScript } from "../../src/quota/ledger.ts";
import { readLedgerSnapshot } from "../../src/quota/ledger-snapshot.ts";
import { createLedgerOpener } from "../../src/quota/ledger-opener.ts";
import { createPermitBroker } from "../../src/quota/permit-broker.ts";
import { lane, openLedger, permitAsk, TEST_PROJECT } from "../support/ledger-parts.ts";
import { createMemoryLedgerRecord } from "../support/memory-ledger-record.ts";
import { test } from "../support/redis-test.ts";

const rulesOf = (parts: Awaited<ReturnType<typeof openLedger>>): readonly string[] =>
  parts.events.flatMap((event) => (event.kind === "opened" ? [event.rule] : []));

const sleep = (ms: number): Promise<void> => systemClock.sleep(ms, new AbortController().signal);

/** Short spans, so that a rule which waits can be waited for. */
const SHORT = { windowMs: 600, useWithinMs: 200, transitMs: 200, settleMs: 400 };

test("the first epoch ever opens at once, and a clean end is followed by an intact beginning", async ({
  redisConnection,
}) => {
  const record = createMemoryLedgerRecord();
  const first = await openLedger(redisConnection, { record });
  const broker = createPermitBroker({}, { ledgerOf: () => first.ledger, clock: systemClock });
  for (let count = 0; count < 7; count += 1) await broker.acquire(permitAsk(lane()));
  await broker.close();
  await first.close();
  expect((await record.readEpoch(TEST_PROJECT))?.closed).toMatchObject({ sequence: 7 });
  expect((await record.readDay(TEST_PROJECT))?.count).toBe(7);

  const second = await openLedger(redisConnection, { record });
  expect(rulesOf(first)).toEqual(["first"]);
  expect(rulesOf(second)).toEqual(["intact"]);
  const snapshot = await readLedgerSnapshot(second.ledger);
  expect(snapshot?.project.used).toBe(7);
  expect(snapshot?.day.used).toBe(7);
  await second.close();
});

test("after a clean end and a lost Redis it opens once W+J+D are over, by the database alone", async ({
  redisConnection,
  redis,
}) => {
  const record = createMemoryLedgerRecord();
  const first = await openLedger(redisConnection, { record, settings: SHORT });
  await first.close();
  await redis.flushdb();
  await sleep(1_050);
  const second = await openLedger(redisConnection, { record, settings: SHORT });
  expect(rulesOf(second)).toEqual(["clean"]);
  await second.close();
});

test("I9: after a crash and a lost Redis it opens after W+J+D, and the day keeps its count", async ({
  redisConnection,
  redis,
}) => {
  const record = createMemoryLedgerRecord();
  const first = await openLedger(redisConnection, {
    record,
    settings: { ...SHORT, projectPerMinute: 50 },
  });
  const saved = await record.readDay(TEST_PROJECT);
  const snapshot = await readLedgerSnapshot(first.ledger);
  if (snapshot === undefined) throw new Error("not open");
  // A process that dies says nothing: its record is what the last write said.
  await record.saveDay(TEST_PROJECT, {
    dayStartedAt: saved?.dayStartedAt ?? epochMs(0),
    count: 1_234,
    ledgerAt: systemClock.now(),
  });
  const crashed = { ...record, closeEpoch: () => Promise.resolve() };
  await redis.flushdb();
  await first.close();
  await redis.flushdb();
  const startedAtMs = systemClock.monotonicMs();
  const second = await openLedger(redisConnection, {
    record: crashed,
    settings: { ...SHORT, projectPerMinute: 50 },
  });
  expect(rulesOf(second)).toEqual(["waited"]);
  expect(systemClock.monotonicMs() - startedAtMs).toBeGreaterThan(1_000);
  const after = await readLedgerSnapshot(second.ledger);
  // What those seconds may have hidden is counted as spent: one limit, not one more for the wait itself.
  expect(after?.day.used).toBe(1_234 + 50);
  await second.close();
});

test("I1: when all who were granted live, a loss costs the day what was granted since it was written, no more", async ({
  redisConnection,
  redis,
}) => {
  const parts = await openLedger(redisConnection);
  const guarded = parts.join();
  const broker = createPermitBroker({}, { ledgerOf: () => guarded, clock: systemClock });
  const spend = async (count: number): Promise<void> => {
    for (let sent = 0; sent < count; sent += 1) await broker.acquire(permitAsk(lane()));
  };
  await spend(11);
  await expect
    .poll(async () => (await parts.record.readDay(TEST_PROJECT))?.count, { timeout: 60_000 })
    .toBe(11);
  // Older than the tolerance: counted again they would be counted twice.
  await sleep(400);
  await spend(5);
  await redis.flushdb();
  await expect.poll(() => rulesOf(parts), { timeout: 60_000 }).toEqual(["first", "reseeded"]);
  const used = (await readLedgerSnapshot(parts.ledger))?.day.used;
  // Never less than what was sent; and not the whole limit of 100 that a minute could have held.
  expect(used).toBeGreaterThanOrEqual(16);
  expect(used).toBeLessThanOrEqual(16 + 11);
  await broker.close();
  await parts.close();
});

test("a process without a database opens nothing and says that the ledger is unavailable", async ({
  redisConnection,
  redis,
}) => {
  const parts = await openLedger(redisConnection);
  const guarded = parts.join();
  await parts.opener.close();
  await redis.flushdb();
  const broker = createPermitBroker({}, { ledgerOf: () => guarded, clock: systemClock });
  await expect(broker.acquire(permitAsk(lane(), { maxWaitMs: 400 }))).rejects.toBeInstanceOf(
    LedgerUnavailable,
  );
  await broker.close();
  await parts.close();
});

test("of two openers one opens, and both follow", async ({ redisConnection }) => {
  const record = createMemoryLedgerRecord();
  const [one, two] = await Promise.all([
    openLedger(redisConnection, { record }),
    openLedger(redisConnection, { record }),
  ]);
  expect([...rulesOf(one), ...rulesOf(two)]).toEqual(["first"]);
  await Promise.all([one.close(), two.close()]);
});

test("a limit that was set rules the next decision, and a bad one is told and rules nothing", async ({
  redisConnection,
}) => {
  const parts = await openLedger(redisConnection, { settings: { projectPerMinute: 50 } });
  parts.settings.set("quota.test.projectPerMinute", 70);
  parts.settings.set("quota.test.userPerMinute", "many");
  await parts.opener.applySettings();
  expect((await readLedgerSnapshot(parts.ledger))?.project.limit).toBe(70);
  expect(parts.events).toContainEqual(expect.objectContaining({ kind: "bad-settings" }) as unknown);
  await parts.close();
});

test("a server that does not know the script is sent it, and another format grants nothing", async ({
  redisConnection,
  redis,
}) => {
  // Not SCRIPT FLUSH: the server is shared with the other test workers.
  const script = `${readLedgerScript()}-- ${randomUUID()}\n`;
  const digest = createHash("sha1").update(script).digest("hex");
  expect(await redis.script("EXISTS", digest)).toEqual([0]);
  const parts = await openLedger(redisConnection, { script });
  expect(await redis.script("EXISTS", digest)).toEqual([1]);
  const broker = createPermitBroker({}, { ledgerOf: () => parts.ledger, clock: systemClock });
  await redis.hset("{ballast-test}:ledger:state", "format", "2");
  await expect(broker.acquire(permitAsk(lane(), { maxWaitMs: 200 }))).rejects.toThrow(/format 2/);
  await broker.close();
  await parts.close();
});

test("what was used is collected with who, how and how it ended", async ({ redisConnection }) => {
  const parts = await openLedger(redisConnection);
  const broker = createPermitBroker({}, { ledgerOf: () => parts.ledger, clock: systemClock });
  const permit = await broker.acquire(permitAsk(lane({ tenant: "globex" })));
  broker.report(permit, { kind: "succeeded" });
  const failing = await broker.acquire(permitAsk(lane({ tenant: "globex" })));
  broker.report(failing, { kind: "upstream-failed" }, "timed-out");
  await broker.close();
  const batch = await collectUsage(parts.ledger);
  const alike = {
    tenantId: "globex",
    consumer: "ballast-worker",
    class: "interactive",
    operation: "events.list",
    attempt: "first",
    requests: 1,
  };
  expect(batch?.rows.toSorted((a, b) => (a.outcome < b.outcome ? -1 : 1))).toEqual([
    { ...alike, outcome: "succeeded", reason: "" },
    { ...alike, outcome: "upstream-failed", reason: "timed-out" },
  ]);
  await batch?.confirm();
  expect(await collectUsage(parts.ledger)).toBeUndefined();
  expect((await readLedgerSnapshot(parts.ledger))?.spenders).toEqual([
    { tenant: "globex", consumer: "ballast-worker", class: "interactive", requests: 2 },
  ]);
  await parts.close();
});

test("a stopped project is told once by one process, and again only when it had recovered", async ({
  redisConnection,
}) => {
  const parts = await openLedger(redisConnection, { settings: SHORT });
  const told: string[] = [];
  const second = createLedgerOpener({
    ledger: parts.join(),
    record: parts.record,
    settings: parts.settings,
    clock: systemClock,
    tell: (event) => {
      if (event.kind === "project-stopped") told.push(event.reason);
    },
  });
  const stops = (): readonly string[] => [
    ...told,
    ...parts.events.flatMap((event) => (event.kind === "project-stopped" ? [event.reason] : [])),
  ];
  const broker = createPermitBroker({}, { ledgerOf: () => parts.ledger, clock: systemClock });
  const stop = async (forMs: number): Promise<void> => {
    const permit = await broker.acquire(permitAsk(lane()));
    broker.report(permit, { kind: "project-stopped", reason: "api-not-enabled", forMs });
    await expect(broker.acquire(permitAsk(lane(), { maxWaitMs: 300 }))).rejects.toThrow(
      /is stopped \(api-not-enabled\); an operator must act/,
    );
  };
  await stop(5_000);
  await expect.poll(stops, { timeout: 60_000, interval: 50 }).toEqual(["api-not-enabled"]);
  await parts.ledger.run("lift", ["stop"]);
  await stop(5_000);
  await sleep(5_000);
  // It has never been away: no news.
  expect(stops()).toEqual(["api-not-enabled"]);
  await parts.ledger.run("lift", ["stop"]);
  const permit = await broker.acquire(permitAsk(lane()));
  broker.report(permit, { kind: "succeeded" });
  await sleep(300);
  await stop(5_000);
  await expect
    .poll(stops, { timeout: 60_000, interval: 50 })
    .toEqual(["api-not-enabled", "api-not-enabled"]);
  await broker.close();
  await second.close();
  await parts.close();
}, 120_000);

test("an idle process asks Redis nothing once its grants do not count any more", async ({
  redisConnection,
}) => {
  const parts = await openLedger(redisConnection, { settings: SHORT });
  const guarded = parts.join();
  let asks = 0;
  const counted = {
    ...guarded,
    ask: (request: Parameters<typeof guarded.ask>[0]) => {
      asks += 1;
      return guarded.ask(request);
    },
  };
  const broker = createPermitBroker({}, { ledgerOf: () => counted, clock: systemClock });
  await broker.acquire(permitAsk(lane()));
  await sleep(1_800);
  const before = asks;
  expect(before).toBeGreaterThan(1);
  await sleep(1_500);
  expect(asks).toBe(before);
  await broker.close();
  await parts.close();
});
