import { expect } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { BreakerOpen } from "../../src/core/refusal.ts";
import { createPermitBroker } from "../../src/quota/permit-broker.ts";
import type { PermitBroker } from "../../src/quota/permit.ts";
import { openLedger, TEST_PROJECT } from "../support/ledger-parts.ts";
import { test } from "../support/redis-test.ts";
import { startScriptedServer } from "../support/scripted-server.ts";
import { createTestGuard, testCall, type TestGuard } from "../support/test-guard.ts";

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

interface Process {
  readonly guard: TestGuard;
  readonly broker: PermitBroker;
  /** How many of its permits were probes. */
  readonly probes: () => number;
  readonly call: () => Promise<unknown>;
}

test("a failing upstream stops the whole fleet, one probe at a time goes out, its success starts all again", async ({
  redisConnection,
}) => {
  let isDown = true;
  const server = await startScriptedServer(() => ({ status: isDown ? 503 : 200, body: "{}" }));
  const parts = await openLedger(redisConnection, {
    settings: {
      projectPerMinute: 5000,
      userPerMinute: 5000,
      breakerFirstMs: 400,
      breakerMaxMs: 800,
    },
  });
  const createProcess = (): Process => {
    const ledger = parts.join();
    const broker = createPermitBroker({}, { ledgerOf: () => ledger, clock: systemClock });
    let probes = 0;
    const counting: PermitBroker = {
      ...broker,
      acquire: async (ask) => {
        const permit = await broker.acquire(ask);
        if (permit.isProbe) probes += 1;
        return permit;
      },
    };
    const guard = createTestGuard({
      broker: counting,
      apiRootUrl: server.url,
      options: {
        retry: { maxAttempts: 1 },
        // Shorter than the outage will last: background work is told to come back later.
        passage: { maxBackgroundWaitMs: 50 },
      },
    });
    const call = (): Promise<unknown> =>
      caught(
        guard.call(testCall({ attribution: { projectId: TEST_PROJECT } }), async () => {
          const response = await guard.fetch(`${server.url}calendar/v3/x`);
          if (!response.ok) throw new Error(`status ${response.status}`);
        }),
      );
    return { guard, broker, call, probes: () => probes };
  };
  const fleet = [createProcess(), createProcess()];
  const [first, second] = fleet;
  if (!first || !second) throw new Error("no fleet");
  const probes = (): number => first.probes() + second.probes();
  try {
    // A ledger vouches for a new process after a moment.
    for (const { call } of fleet) {
      await expect
        .poll(async () => String(await call()), { timeout: 60_000 })
        .toContain("upstream-unavailable");
    }
    // One process notices; the other has hardly seen anything.
    while (!((await first.call()) instanceof BreakerOpen)) {
      expect(server.arrivals.length).toBeLessThan(40);
    }
    const beforeOpening = server.arrivals.length;
    expect(beforeOpening).toBeGreaterThanOrEqual(20);
    expect(await second.call()).toBeInstanceOf(BreakerOpen);
    expect(await second.call()).toMatchObject({ code: "BALLAST_BREAKER_OPEN" });

    // Both go on asking through the outage: what arrives is probes, and few.
    const endsAt = Date.now() + 1500;
    while (Date.now() < endsAt) {
      await Promise.all([first.call(), second.call()]);
      await systemClock.sleep(5, new AbortController().signal);
    }
    expect(server.arrivals.length - beforeOpening).toBe(probes());
    expect(probes()).toBeGreaterThanOrEqual(1);
    expect(probes()).toBeLessThanOrEqual(3);

    isDown = false;
    await expect.poll(async () => first.call(), { timeout: 60_000 }).toBeUndefined();
    await expect.poll(async () => second.call(), { timeout: 60_000 }).toBeUndefined();
    // And its sensor measures anew: fewer failures than its volume trip nothing.
    isDown = true;
    expect(String(await first.call())).toContain("upstream-unavailable");
    isDown = false;
    expect(await first.call()).toBeUndefined();
  } finally {
    for (const { guard, broker } of fleet) {
      await guard.close();
      await broker.close();
    }
    await parts.close();
    await server.close();
  }
});
