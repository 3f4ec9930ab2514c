import { onTestFinished, expect, test, vi } from "vitest";
import type { Starting } from "../../src/app-parts.ts";
import { loadConfig } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { runDrain, type DrainStep } from "../../src/core/drain.ts";
import { tenantId } from "../../src/core/ids.ts";
import { createMetrics } from "../../src/observability/metrics.ts";
import { startChanges } from "../../src/start-changes.ts";
import { event, openTestStore } from "../conformance/store-fixture.ts";
import { startScriptedServer } from "../support/scripted-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

vi.setConfig({ testTimeout: 120_000 });

test("a worker sends what changes to the webhook, forgets what is old, counts both, and drains", async () => {
  const store = await openTestStore(`sqlite:${await temporaryDirectory()}/b.db`);
  const receiver = await startScriptedServer(() => ({ status: 200 }));
  onTestFinished(() => receiver.close());
  // Of the manual clock: long past for the worker, which goes by the machine's.
  const calendar = await store.connectOne();
  const metrics = createMetrics({ withProcess: false });
  const started: DrainStep[] = [];
  const lines: string[] = [];
  const logger: Starting["deps"]["logger"] = {
    log: (_level, message) => {
      lines.push(message);
    },
    with: () => logger,
  };
  const config = loadConfig({ BALLAST_WEBHOOK_PRIVATE: "allow", BALLAST_CHANGES_DAYS: "1" });
  const clock = systemClock;
  startChanges(
    { config, options: { role: "worker", redis: "" }, deps: { clock, logger }, started },
    { store, metrics },
  );
  const acme = tenantId("acme");
  await vi.waitFor(
    async () => {
      expect(await store.changes.read(acme, { after: 0, limit: 1 })).toEqual({ kind: "forgotten" });
    },
    { timeout: 60_000 },
  );

  store.clock.stepWallClock(clock.now() - store.now());
  const by = { actor: "olga", now: clock.now() };
  const secret = `whsec_${Buffer.alloc(32, 1).toString("base64")}`;
  await store.webhooks.set(acme, { url: receiver.url, secret }, by);
  await store.refresh(calendar, { items: [event("a")] });
  await vi.waitFor(() => expect(receiver.arrivals).toHaveLength(1), { timeout: 60_000 });
  expect(receiver.arrivals[0]?.body).toContain("calendar-replaced");
  await vi.waitFor(
    async () => {
      expect(await metrics.render()).toContain(
        'ballast_webhook_deliveries_total{outcome="delivered"} 1',
      );
    },
    { timeout: 60_000 },
  );
  metrics.setWebhooks(await store.webhooks.health(), clock.now());
  const rendered = await metrics.render();
  expect(rendered).toContain("ballast_webhook_changes_total 1");
  expect(rendered).toContain('ballast_webhooks{state="active"} 1');
  expect(rendered).toContain("ballast_webhook_lag_seconds 0");
  expect(rendered).toMatch(/ballast_changes_forgotten_total [1-9]/);

  const drained = await runDrain(started.toReversed(), { deadlineMs: 60_000, clock });
  expect(drained.map(({ outcome }) => outcome)).toEqual(drained.map(() => "done"));
  expect(lines).toEqual([]);
});
