import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import { projectId } from "../../src/core/ids.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { openScenarioHome, type ScenarioHome } from "../support/scenario-home.ts";

vi.setConfig({ testTimeout: 240_000 });

const ACCOUNTS = 12;
const OUTAGE = [
  {
    match: { operation: "oauth.token" },
    answer: { kind: "error", status: 503, reason: "backendError" },
  },
];

let simulator: Simulator;
let home: ScenarioHome;

beforeEach(async () => {
  simulator = await createSimulator({
    seed: "refused",
    generate: { accounts: ACCOUNTS, calendars: 0, events: 2 },
  });
  home = await openScenarioHome(
    {
      google: { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
      unlimited: true,
      env: { BALLAST_POLL_SECONDS: "1" },
    },
    { onRunFinished: () => undefined },
  );
  for (const [index, { refreshToken }] of simulator.accounts().entries()) {
    await home.connect(`tenant-${String(index % 3)}`, `account-${String(index)}`, refreshToken);
  }
  await vi.waitUntil(() => syncedOften(1)() === ACCOUNTS, { timeout: 60_000 });
});

afterEach(async () => {
  await home.close();
  await simulator.close();
});

/** Calendars that were read so often since the count began. */
function syncedOften(times: number): () => number {
  return () => {
    const reads = new Map<string, number>();
    for (const request of simulator.log.after(0, 100_000)) {
      if (request.operation !== "events.list" || request.status !== 200) continue;
      reads.set(request.calendar, (reads.get(request.calendar) ?? 0) + 1);
    }
    return [...reads.values()].filter((count) => count >= times).length;
  };
}

/** Every access token is dead: each account has to ask for a new one. */
function expireTokens(over: { readonly isRevoked?: boolean } = {}): void {
  for (const account of simulator.accounts()) {
    account.tokensDeadBeforeMs = simulator.world.nowMs() + 1;
    if (over.isRevoked !== undefined) account.isRevoked = over.isRevoked;
  }
}

const refusals = (): number =>
  simulator.log
    .after(0, 100_000)
    .filter(({ operation, status }) => operation === "oauth.token" && status >= 400).length;

describe("with real workers, end to end", () => {
  test("a wave of invalid_grant disconnects nobody until an operator says so", async () => {
    expireTokens({ isRevoked: true });
    await expect.poll(refusals, { timeout: 60_000 }).toBeGreaterThanOrEqual(6);
    await expect
      .poll(() => home.store.deadGrants.holds(systemClock.now()), { timeout: 60_000 })
      .toHaveLength(1);
    expect(await home.store.accounts.countsByState()).toMatchObject({
      connected: ACCOUNTS,
      "needs-reconnect": 0,
    });
    const alarms = await home.store.operatorLog.list({ limit: 100 });
    expect(alarms.filter(({ action }) => action.startsWith("disconnects."))).toHaveLength(1);
    expect((await home.app.status()).sentence).toContain("ballast resume disconnects");

    // It was Google's trouble, or ours, and is over; the operator says so.
    for (const account of simulator.accounts()) account.isRevoked = false;
    await home.store.deadGrants.resume(projectId("default"), {
      actor: "test",
      reason: "over",
      now: systemClock.now(),
      until: epochMs(systemClock.now() + 900_000),
    });
    expect(await home.store.deadGrants.holds(systemClock.now())).toEqual([]);
  });

  test("a token endpoint that answers 503 disconnects nobody, and all go on when it is back", async () => {
    simulator.faults.install({ faults: OUTAGE });
    expireTokens();
    // Each of them has asked, in vain.
    await expect.poll(refusals, { timeout: 60_000 }).toBeGreaterThanOrEqual(ACCOUNTS);
    expect(await home.store.accounts.countsByState()).toMatchObject({
      connected: ACCOUNTS,
      "needs-reconnect": 0,
    });
    expect(await home.store.deadGrants.holds(systemClock.now())).toEqual([]);
    simulator.faults.install({ faults: [] });
    simulator.resetCounters();
    const since = simulator.log.after(0, 100_000).at(-1)?.sequence ?? 0;
    const again = (): number =>
      new Set(
        simulator.log
          .after(since, 100_000)
          .filter(({ operation, status }) => operation === "events.list" && status === 200)
          .map(({ calendar }) => calendar),
      ).size;
    await expect.poll(again, { timeout: 60_000 }).toBe(ACCOUNTS);
  });
});
