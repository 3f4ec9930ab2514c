import { join } from "node:path";
import { expect, onTestFinished, vi } from "vitest";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import { StoreUnavailable } from "../../src/core/refusal.ts";
import type { UsageStore } from "../../src/core/usage-store.ts";
import { createPermitBroker } from "../../src/quota/permit-broker.ts";
import type { Ledger } from "../../src/quota/ledger.ts";
import type { RequestRecord } from "../../src/quota/request-observer.ts";
import { createUsageRecorder } from "../../src/quota/usage-recorder.ts";
import { openStore, type Store } from "../../src/store/open-store.ts";
import { testVault } from "../conformance/store-fixture.ts";
import { lane, openLedger, permitAsk, TEST_PROJECT } from "../support/ledger-parts.ts";
import { test } from "../support/redis-test.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const options = { projectId: TEST_PROJECT, everyMs: 20 };

async function openDatabase(): Promise<Store> {
  const url = `sqlite:${join(await temporaryDirectory(), "store.db")}`;
  const store = await openStore(
    { url, mirror: "full", migrateWhenEmpty: true },
    { clock: systemClock, vault: testVault },
  );
  onTestFinished(() => store.close());
  return store;
}

function totalsOf(store: Store): ReturnType<UsageStore["totals"]> {
  const since = epochMs(systemClock.now() - 60_000);
  return store.usage.totals({ projectId: TEST_PROJECT, since, by: "minute", limit: 100 });
}

async function send(ledger: Ledger, of: Parameters<typeof lane>[0], count: number): Promise<void> {
  const broker = createPermitBroker({}, { ledgerOf: () => ledger, clock: systemClock });
  for (let sent = 0; sent < count; sent += 1) {
    broker.report(await broker.acquire(permitAsk(lane(of))), { kind: "succeeded" });
  }
  await broker.close();
}

test("I2: every process's requests are recorded, those of a guarded client too, by whoever has the database", async ({
  redisConnection,
}) => {
  const parts = await openLedger(redisConnection);
  const store = await openDatabase();
  const recorders = [1, 2].map(() =>
    createUsageRecorder(options, {
      ledger: parts.ledger,
      usage: store.usage,
      clock: systemClock,
      onTrouble: () => undefined,
    }),
  );
  await send(parts.ledger, { tenant: "globex", consumer: "ballast-worker", class: "poll" }, 4);
  await send(parts.join(), { tenant: "acme", consumer: "booking-api", attempt: "retry" }, 2);
  for (const recorder of recorders) await recorder.close();
  expect(await totalsOf(store)).toEqual([
    {
      tenantId: "globex",
      consumer: "ballast-worker",
      class: "poll",
      attempt: "first",
      requests: 4,
    },
    {
      tenantId: "acme",
      consumer: "booking-api",
      class: "interactive",
      attempt: "retry",
      requests: 2,
    },
  ]);
  await parts.close();
});

test("what could not be written comes again and is counted once, whenever it failed", async ({
  redisConnection,
}) => {
  const parts = await openLedger(redisConnection);
  const store = await openDatabase();
  const troubles: unknown[] = [];
  let failures = 0;
  // Gone before the write, then gone after it: nobody knows whether it was written.
  const usage: UsageStore = {
    ...store.usage,
    add: async (batch) => {
      failures += 1;
      if (failures > 1) await store.usage.add(batch);
      if (failures <= 2) throw new StoreUnavailable({ message: "gone", retryAfterMs: 1 });
    },
  };
  const recorder = createUsageRecorder(options, {
    ledger: parts.ledger,
    usage,
    clock: systemClock,
    onTrouble: (error) => {
      troubles.push(error);
    },
  });
  await send(parts.ledger, { tenant: "acme" }, 3);
  await vi.waitFor(() => expect(failures).toBeGreaterThan(2), { timeout: 60_000 });
  await recorder.close();
  expect(troubles).toHaveLength(2);
  expect(await totalsOf(store)).toMatchObject([{ tenantId: "acme", requests: 3 }]);
  await parts.close();
});

test("what was refused is recorded with its reason, and is no request", async ({
  redisConnection,
}) => {
  const parts = await openLedger(redisConnection);
  const store = await openDatabase();
  const figures: unknown[] = [];
  const recorder = createUsageRecorder(options, {
    ledger: parts.ledger,
    usage: {
      ...store.usage,
      add: async (batch) => {
        figures.push(...batch.figures);
        await store.usage.add(batch);
      },
    },
    clock: systemClock,
    onTrouble: () => undefined,
  });
  const { attribution } = lane({ tenant: "acme", class: "backfill" });
  const refused: RequestRecord = {
    attribution,
    operation: "events.list",
    upstream: "calendar",
    attempt: "first",
    outcome: "refused",
    reason: "BALLAST_BUDGET_SPENT",
    durationMs: 0,
    permitWaitMs: 0,
    bytes: 0,
  };
  recorder.onRequest(refused);
  recorder.onRequest(refused);
  // The ledger counts what was sent: counted here too, it would be there twice.
  recorder.onRequest({ ...refused, outcome: "succeeded", reason: undefined });
  await recorder.close();
  expect(figures).toEqual([
    expect.objectContaining({
      tenantId: "acme",
      class: "backfill",
      outcome: "refused",
      reason: "BALLAST_BUDGET_SPENT",
      requests: 2,
    }),
  ]);
  expect(await totalsOf(store)).toEqual([]);
  await parts.close();
});
