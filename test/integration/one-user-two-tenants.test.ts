import { expect, onTestFinished, test, vi } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, quotaUser, tenantId } from "../../src/core/ids.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { openScenarioHome } from "../support/scenario-home.ts";

vi.setConfig({ testTimeout: 300_000 });

const PER_WINDOW = 12;
const WINDOW_SECONDS = 2;
const CALENDARS = 12;

/** One person's account, connected by two tenants, with more calendars than the person's window has room for. */
async function mirrorTwice(subs: readonly [string | undefined, string | undefined]): Promise<{
  readonly simulator: Simulator;
  readonly quotaUsers: readonly string[];
}> {
  const simulator = await createSimulator({
    seed: "two tenants",
    generate: { accounts: 1, calendars: CALENDARS - 1, events: 1 },
    limits: { windowSeconds: WINDOW_SECONDS },
  });
  onTestFinished(() => simulator.close());
  const [person] = simulator.accounts();
  const home = await openScenarioHome(
    {
      google: { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
      unlimited: true,
      env: {
        BALLAST_QUOTA_USER_PER_MINUTE: String(PER_WINDOW),
        BALLAST_QUOTA_WINDOW_SECONDS: String(WINDOW_SECONDS),
        BALLAST_POLL_SECONDS: "600",
      },
    },
    { onRunFinished: () => undefined },
  );
  onTestFinished(() => home.close());
  for (const [index, tenant] of ["acme", "globex"].entries()) {
    const sub = subs[index];
    await home.store.accounts.connect({
      projectId: projectId("default"),
      tenantId: tenantId(tenant),
      name: accountName("ada"),
      quotaUser: sub === undefined ? undefined : quotaUser(sub),
      refreshToken: person?.refreshToken ?? "",
      scopes: [],
      now: systemClock.now(),
    });
  }
  await vi.waitUntil(
    async () => {
      const { total, never } = await home.store.calendars.counts();
      return total === 2 * CALENDARS && never === 0;
    },
    { timeout: 60_000, interval: 200 },
  );
  const rows = await home.store.accounts.list({ limit: 10 });
  return { simulator, quotaUsers: rows.map((row) => row.quotaUser) };
}

test("I1: one Google user under two tenants has one window, by Google's own number for it", async () => {
  const { simulator, quotaUsers } = await mirrorTwice(["107", "107"]);
  expect(quotaUsers).toEqual(["107", "107"]);
  expect(simulator.counters().mostArrivals.quotaUser).toBeLessThanOrEqual(PER_WINDOW);
});

test("without that number both are known by the primary calendar, once it is listed", async () => {
  const { quotaUsers } = await mirrorTwice([undefined, undefined]);
  expect(new Set(quotaUsers).size).toBe(1);
});

test("control: taken for two users, the same work overshoots the person's window", async () => {
  const { simulator, quotaUsers } = await mirrorTwice(["one", "two"]);
  expect(new Set(quotaUsers).size).toBe(2);
  expect(simulator.counters().mostArrivals.quotaUser).toBeGreaterThan(PER_WINDOW);
});
