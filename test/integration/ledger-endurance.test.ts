import { Redis } from "ioredis";
import { describe, expect, onTestFinished, test as plainTest } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { createPermitBroker } from "../../src/quota/permit-broker.ts";
import { lane, openLedger, permitAsk } from "../support/ledger-parts.ts";
import { mostInAnyWindow } from "../support/quota-fleet/count-arrivals.ts";
import { obtainFleetRedis } from "../support/quota-fleet/run-fleet.ts";
import { test } from "../support/redis-test.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

const sleep = (ms: number): Promise<void> => systemClock.sleep(ms, new AbortController().signal);

describe("the ledger bears", () => {
  test("I1: a permit that is never used costs its own place for one window, and no more", async ({
    redisConnection,
  }) => {
    const limit = 20;
    const parts = await openLedger(redisConnection, {
      settings: { windowMs: 1_000, projectPerMinute: limit, userPerMinute: limit, settleMs: 100 },
    });
    const broker = createPermitBroker({}, { ledgerOf: () => parts.ledger, clock: systemClock });
    const acquire = (): Promise<unknown> => broker.acquire(permitAsk(lane()));
    // Neither used nor given back: as by a process that died with them.
    for (let taken = 0; taken < limit / 2; taken += 1) await acquire();
    const used = await broker.acquire(permitAsk(lane()));
    broker.report(used, { kind: "succeeded" });
    for (let taken = 0; taken < limit / 2 - 1; taken += 1) await acquire();
    await expect(broker.acquire(permitAsk(lane(), { maxWaitMs: 100 }))).rejects.toThrow(
      /minute is full/,
    );
    await sleep(1_400);
    const again = await Promise.all(Array.from({ length: limit }, acquire));
    expect(again).toHaveLength(limit);
    await broker.close();
    await parts.close();
  });

  test("I1: a Redis that takes longer than a permit holds: what comes too late is not used", async ({
    redisConnection,
  }) => {
    const limit = 40;
    const windowMs = 2_000;
    const parts = await openLedger(redisConnection, {
      settings: { windowMs, projectPerMinute: limit, userPerMinute: limit, settleMs: 100 },
    });
    const proxy = await startTcpProxy({ path: redisConnection.path });
    const slow = await openLedger(
      { host: "127.0.0.1", port: proxy.port },
      {
        record: parts.record,
        settings: { windowMs, projectPerMinute: limit, userPerMinute: limit, settleMs: 100 },
      },
    );
    const broker = createPermitBroker({}, { ledgerOf: () => slow.ledger, clock: systemClock });
    const sent: number[] = [];
    const refused: unknown[] = [];
    const stop = new AbortController();
    const send = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        try {
          const permit = await broker.acquire(permitAsk(lane(), { maxWaitMs: 1_000 }));
          if (systemClock.monotonicMs() < permit.useByMonotonicMs) sent.push(performance.now());
        } catch (error) {
          refused.push(error);
        }
      }
    };
    const senders = Array.from({ length: 10 }, send);
    await sleep(1_500);
    const before = sent.length;
    proxy.delay({ toServerMs: 20, toClientMs: 400 });
    await sleep(3_000);
    const meanwhile = sent.length - before;
    proxy.delay({ toServerMs: 0, toClientMs: 0 });
    await sleep(4_000);
    stop.abort(new Error("the test is over"));
    await Promise.all(senders);
    expect(before).toBeGreaterThan(0);
    // J is 200 ms: no answer comes in time to be of use, but for those that were on their way.
    expect(meanwhile).toBeLessThanOrEqual(limit);
    expect(sent.length).toBeGreaterThan(before + meanwhile);
    expect(mostInAnyWindow(sent, windowMs)).toBeLessThanOrEqual(limit);
    await broker.close();
    await slow.close();
    await parts.close();
    await proxy.close();
  }, 90_000);

  // Its commands are counted: nobody else may use that server.
  plainTest(
    "5,000 tenants: a few megabytes of Redis, and next to nothing is asked while they are idle",
    { timeout: 240_000 },
    async () => {
      const server = await startPrivateRedis(
        { program: await obtainFleetRedis(), persistent: false },
        { clock: systemClock },
      );
      onTestFinished(() => server.stop());
      const limits = { projectPerMinute: 100_000, userPerMinute: 100_000, perDay: 10_000_000 };
      const parts = await openLedger(
        { path: server.socketPath },
        { settings: { windowMs: 2_000, settleMs: 100, ...limits } },
      );
      const redis = new Redis(server.socketPath);
      const read = async (section: string, pattern: RegExp): Promise<number> =>
        Number(pattern.exec(await redis.info(section))?.[1] ?? Number.NaN);
      const evaluations = (): Promise<number> =>
        read("commandstats", /cmdstat_evalsha:calls=(\d+)/);
      const emptyBytes = await read("memory", /used_memory:(\d+)/);
      const broker = createPermitBroker({}, { ledgerOf: () => parts.ledger, clock: systemClock });
      const permits = await Promise.all(
        Array.from({ length: 5_000 }, (_, index) => {
          const of = lane({ tenant: `tenant-${String(index)}`, user: `user-${String(index)}` });
          return broker.acquire(permitAsk(of, { maxWaitMs: 60_000 }));
        }),
      );
      for (const permit of permits) broker.report(permit, { kind: "succeeded" });
      const grownBytes = (await read("memory", /used_memory:(\d+)/)) - emptyBytes;
      console.log(`5,000 tenants: ${(grownBytes / 1e6).toFixed(1)} MB of Redis`);
      expect(grownBytes).toBeLessThan(25_000_000);
      // The grants have stopped counting; only the one opener looks, once a second.
      await sleep(3_500);
      const before = await evaluations();
      await sleep(4_000);
      const asked = (await evaluations()) - before;
      console.log(`idle: ${String(asked)} evaluations in 4 s`);
      expect(asked).toBeLessThanOrEqual(8);
      redis.disconnect();
      await broker.close();
      await parts.close();
    },
  );
});
