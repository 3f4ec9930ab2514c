import { expect, onTestFinished, test, vi } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { FinishedRun } from "../../src/queue/run-worker.ts";
import { quotaSettingsPrefix } from "../../src/quota/ledger-settings.ts";
import { createSimulator } from "../../src/simulator/simulator.ts";
import { fillTenant } from "../support/fill-tenant.ts";
import { openScenarioHome } from "../support/scenario-home.ts";

const OVERDUE = 10_000;
const PER_ACCOUNT = 200;
const ASKED = 3;
/** Of a window of ten seconds: eight polls a second. */
const PER_WINDOW = 100;
/** Some more than a window's. */
const ENOUGH = 120;

test(
  "a start with ten thousand calendars overdue is no stampede: the budget bounds what is taken, and a person is first",
  { timeout: 120_000 },
  async () => {
    const simulator = await createSimulator({
      generate: { accounts: 1, calendars: PER_ACCOUNT - 1, events: 1 },
      keepsHistory: false,
      limits: { projectPerWindow: PER_WINDOW, windowSeconds: 10 },
    });
    onTestFinished(() => simulator.close());
    const runs: FinishedRun[] = [];
    const home = await openScenarioHome(
      {
        google: { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
        unlimited: false,
        env: {
          BALLAST_QUOTA_WINDOW_SECONDS: "10",
          BALLAST_QUOTA_PROJECT_PER_MINUTE: String(PER_WINDOW),
          BALLAST_QUOTA_USER_PER_MINUTE: "10000",
        },
      },
      {
        onRunFinished: (run) => {
          runs.push(run);
        },
      },
    );
    onTestFinished(() => home.close());
    await home.app.drain();
    // A hundredth of so small a window is one request, and less than a pair at once is less than the budget has.
    await home.store.settings.set(`${quotaSettingsPrefix("default")}pacingBurst`, 0.05, {
      actor: "test",
      reason: undefined,
      now: systemClock.now(),
    });
    const [user] = simulator.accounts();
    const calendars = await fillTenant(home.store, {
      tenant: "big",
      accounts: OVERDUE / PER_ACCOUNT,
      user: {
        refreshToken: user?.refreshToken ?? "",
        calendarIds: [...(user?.listedById.keys() ?? [])],
      },
    });
    const asked = calendars.slice(-ASKED);
    for (const id of asked) {
      await home.store.calendars.request(id, { class: "interactive", dueAt: systemClock.now() });
    }
    const before = await dueTimes(home.store);
    expect(before.size).toBe(OVERDUE);

    await home.restart();
    await vi.waitFor(() => expect(published(runs).length).toBeGreaterThanOrEqual(ENOUGH), 90_000);
    await home.app.drain();

    const places = asked.map((id) =>
      published(runs).findIndex(({ facts }) => facts["calendarId"] === id),
    );
    expect(Math.min(...places)).toBeGreaterThanOrEqual(0);
    // As many as run at once may have ended before.
    expect(Math.max(...places)).toBeLessThan(ASKED + home.config.worker.concurrency);
    const { rejectedByLimit, mostArrivals } = simulator.counters();
    expect(rejectedByLimit).toEqual({});
    expect(mostArrivals.project).toBeGreaterThan(PER_WINDOW / 2);
    // Nobody was sent back for want of room, and what was not taken is due as it was.
    const refused = runs.filter(({ outcome }) => outcome === "postponed");
    expect(refused.length).toBeLessThanOrEqual(runs.length / 20);
    const after = await dueTimes(home.store);
    const moved = [...before].filter(([id, dueAt]) => after.get(id) !== dueAt);
    expect(moved.length).toBeLessThanOrEqual(runs.length);
  },
);

function published(runs: readonly FinishedRun[]): readonly FinishedRun[] {
  return runs.filter(({ outcome }) => outcome === "published");
}

async function dueTimes(
  store: Awaited<ReturnType<typeof openScenarioHome>>["store"],
): Promise<ReadonlyMap<string, number | undefined>> {
  const due = new Map<string, number | undefined>();
  let after: Parameters<typeof store.calendars.list>[0]["after"];
  for (;;) {
    const rows = await store.calendars.list({ limit: 1_000, after });
    for (const { id, dueAt } of rows) due.set(id, dueAt);
    after = rows.at(-1)?.id;
    if (after === undefined) return due;
  }
}
