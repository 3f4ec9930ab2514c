import { expect } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { Refused } from "../../src/core/refusal.ts";
import { createPermitBroker } from "../../src/quota/permit-broker.ts";
import type { PermitBroker } from "../../src/quota/permit.ts";
import { lane, openLedger, permitAsk, type LedgerParts } from "../support/ledger-parts.ts";
import { test } from "../support/redis-test.ts";

async function withBroker(
  connection: { readonly path: string; readonly db: number },
  settings: Readonly<Record<string, unknown>>,
  run: (broker: PermitBroker, parts: LedgerParts) => Promise<void>,
): Promise<void> {
  const parts = await openLedger(connection, { settings });
  const broker = createPermitBroker({}, { ledgerOf: () => parts.ledger, clock: systemClock });
  try {
    await run(broker, parts);
  } finally {
    await broker.close();
    await parts.close();
  }
}

const never = (): AbortSignal => new AbortController().signal;

test("a permit comes back with a use-by no later than J after the ask", async ({
  redisConnection,
}) => {
  await withBroker(redisConnection, {}, async (broker) => {
    const askedAtMs = systemClock.monotonicMs();
    const permit = await broker.acquire(permitAsk(lane()));
    expect(permit.useByMonotonicMs).toBeLessThanOrEqual(systemClock.monotonicMs() + 200);
    expect(permit.useByMonotonicMs).toBeGreaterThanOrEqual(askedAtMs + 200);
    expect(permit.isProbe).toBe(false);
  });
});

test("I1: more calls than the limit: as many permits as the limit, the others are told when", async ({
  redisConnection,
}) => {
  await withBroker(redisConnection, { projectPerMinute: 20 }, async (broker) => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 30 }, () => broker.acquire(permitAsk(lane(), { maxWaitMs: 300 }))),
    );
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(20);
    const refused = outcomes.filter((outcome) => outcome.status === "rejected");
    expect(refused).toHaveLength(10);
    const reason: unknown = refused[0]?.reason;
    if (!(reason instanceof Refused)) throw new Error("not a refusal of ours", { cause: reason });
    expect(reason.code).toBe("BALLAST_BUDGET_SPENT");
    expect(reason.retryAfterMs).toBeGreaterThan(9_000);
  });
});

test("a call that may not wait at all is served when there is room, and refused when there is none", async ({
  redisConnection,
}) => {
  await withBroker(redisConnection, { projectPerMinute: 1 }, async (broker) => {
    await broker.acquire(permitAsk(lane(), { maxWaitMs: 0 }));
    const refused = broker.acquire(permitAsk(lane(), { maxWaitMs: 0 }));
    await expect(refused).rejects.toMatchObject({ code: "BALLAST_BUDGET_SPENT" });
  });
});

test("a cancelled call leaves the queue at once and its permit goes to another", async ({
  redisConnection,
}) => {
  await withBroker(redisConnection, {}, async (broker) => {
    const cancel = new AbortController();
    const cancelled = broker.acquire(permitAsk(lane(), { signal: cancel.signal }));
    const kept = broker.acquire(permitAsk(lane()));
    cancel.abort(new Error("nobody wants it"));
    await expect(cancelled).rejects.toThrow("nobody wants it");
    await expect(kept).resolves.toMatchObject({ isProbe: false });
  });
});

test("a consumer that claims interactive without leave is refused", async ({ redisConnection }) => {
  const settings = { "consumer:*": { cap: 1, classes: ["poll"] } };
  await withBroker(redisConnection, settings, async (broker) => {
    const ask = permitAsk(lane({ consumer: "booking-api" }));
    await expect(broker.acquire(ask)).rejects.toMatchObject({ code: "BALLAST_CLASS_NOT_ALLOWED" });
  });
});

test("I3: without retry tokens a retry waits while first tries pass", async ({
  redisConnection,
}) => {
  const settings = { retryPerSecond: 0.001 };
  await withBroker(redisConnection, settings, async (broker) => {
    const retry = broker.acquire(permitAsk(lane({ attempt: "retry" }), { maxWaitMs: 100 }));
    const refused = retry.catch((error: unknown) => error);
    for (let index = 0; index < 10; index += 1) {
      const permit = await broker.acquire(permitAsk(lane()));
      broker.report(permit, { kind: "succeeded" });
    }
    expect(await refused).toMatchObject({ code: "BALLAST_BUDGET_SPENT" });
    const paid = await broker.acquire(permitAsk(lane({ attempt: "retry" })));
    expect(paid.ask.attempt).toBe("retry");
  });
});

test("an open breaker sends nothing but one probe, and its success closes it for all", async ({
  redisConnection,
}) => {
  const settings = { breakerFirstMs: 200 };
  await withBroker(redisConnection, settings, async (broker) => {
    const ask = permitAsk(lane(), { maxWaitMs: 20 });
    await broker.acquire(permitAsk(lane()));
    await broker.openBreaker(ask.attribution.projectId, "calendar");
    await expect(broker.acquire(ask)).rejects.toMatchObject({ code: "BALLAST_BREAKER_OPEN" });
    const after = await Promise.allSettled(
      Array.from({ length: 5 }, () => broker.acquire(permitAsk(lane(), { maxWaitMs: 450 }))),
    );
    const probes = after.filter(({ status }) => status === "fulfilled");
    expect(probes).toHaveLength(1);
    const [probe] = probes;
    if (probe?.status !== "fulfilled") throw new Error("no probe");
    expect(probe.value.isProbe).toBe(true);
    broker.report(probe.value, { kind: "succeeded" });
    await systemClock.sleep(50, never());
    await expect(broker.acquire(permitAsk(lane()))).resolves.toMatchObject({ isProbe: false });
  });
});
