import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { loadConfig } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, tenantId } from "../../src/core/ids.ts";
import { openAppStore } from "../../src/operator-app.ts";
import { runBallast } from "../support/ballast-process.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

vi.setConfig({ testTimeout: 120_000 });

test("a webhook is set, shown without its secret, resumed and removed, and all of it is recorded", async () => {
  const env = { BALLAST_DATA_DIR: join(await temporaryDirectory(), "data") };
  const deps = { clock: systemClock };
  const store = await openAppStore(loadConfig(env), deps, { migrateWhenEmpty: true });
  await store.accounts.connect({
    projectId: projectId("default"),
    tenantId: tenantId("acme"),
    name: accountName("ada"),
    quotaUser: undefined,
    refreshToken: "1//token",
    scopes: [],
    now: systemClock.now(),
  });
  const url = "https://app.example/ballast";
  const made = await runBallast(["webhooks", "set", "acme", url], env);
  expect(made).toMatchObject({ code: 0 });
  expect(made.stdout).toMatch(/^whsec_[A-Za-z0-9+/]{43}=\n$/);
  const shown = await runBallast(["webhooks", "show", "--json"], env);
  expect(JSON.parse(shown.stdout)).toMatchObject({
    webhooks: [{ tenantId: "acme", url, state: "active", reason: null }],
  });
  expect(shown.stdout).not.toContain("whsec_");
  const [nobody, inside, resumed] = await Promise.all([
    runBallast(["webhooks", "set", "nobody", url, "--json"], env),
    runBallast(["webhooks", "set", "acme", "https://10.0.0.1/", "--json"], env),
    runBallast(["webhooks", "resume", "acme"], env),
  ]);
  expect(nobody.code).toBe(1);
  expect(nobody.stderr).toContain("BALLAST_UNKNOWN_TENANT");
  expect(inside.code).toBe(2);
  expect(inside.stderr).toContain("BALLAST_WEBHOOK_ADDRESS");
  expect(resumed).toMatchObject({ code: 0 });
  expect(await runBallast(["webhooks", "remove", "acme"], env)).toMatchObject({ code: 0 });
  const gone = await runBallast(["webhooks", "show", "acme", "--json"], env);
  expect(gone.code).toBe(1);
  expect(gone.stderr).toContain("BALLAST_UNKNOWN_WEBHOOK");
  const log = await store.operatorLog.list({ limit: 3 });
  expect(log.map(({ action, subject }) => [action, subject])).toEqual([
    ["webhook.removed", "acme"],
    ["webhook.resumed", "acme"],
    ["webhook.set", "acme"],
  ]);
  await store.close();
});
