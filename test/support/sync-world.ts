import { onTestFinished } from "vitest";
import type { CalendarSource } from "../../src/core/calendar-source.ts";
import type { CalendarRow } from "../../src/core/calendar-store.ts";
import { epochMs } from "../../src/core/clock.ts";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import {
  accountName,
  consumer,
  projectId,
  tenantId,
  type AccountId,
  type CalendarId,
} from "../../src/core/ids.ts";
import type { PlanPoll } from "../../src/core/poll-store.ts";
import type { RefreshStore } from "../../src/core/refresh-store.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import type { SimulatorOptions } from "../../src/simulator/assemble-simulator.ts";
import {
  createDiscoverCalendars,
  type DiscoveryOutcome,
} from "../../src/sync/discover-calendars.ts";
import { createRefreshCalendar, type RefreshOutcome } from "../../src/sync/refresh-calendar.ts";
import type { AccountEffect } from "../../src/sync/account-effect.ts";
import { openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import { createTestSource, type TestSource } from "./test-source.ts";

const POLL_MS = 600_000;
/** Whatever there is to poll. */
export const pollInTenMinutes: PlanPoll = (_facts, now) => ({
  dueAt: epochMs(now + POLL_MS),
  reason: "poll",
});
export const SYNC_LEASE_MS = 75_000;

/** The sync engine over a real database and a simulator; only the budget grants everything. */
export interface SyncWorld {
  readonly simulator: Simulator;
  readonly store: TestStore;
  readonly google: TestSource;
  readonly accountId: AccountId;
  readonly accountEffects: AccountEffect[];
  discover(): Promise<DiscoveryOutcome>;
  refresh(id: CalendarId, signal?: AbortSignal): Promise<RefreshOutcome>;
  /** Make the row due and refresh it. */
  refreshNow(id: CalendarId): Promise<RefreshOutcome>;
  calendars(): Promise<readonly CalendarRow[]>;
  row(id: CalendarId): Promise<CalendarRow>;
  read(id: CalendarId): Promise<readonly GoogleEvent[]>;
  /** What Google has, by the simulator's own full list. */
  truth(id: CalendarId): Promise<readonly GoogleEvent[]>;
}

export interface SyncWorldNeeds {
  readonly databaseUrl: string;
  readonly simulator: SimulatorOptions;
  /** Stand between the engine and its parts. */
  readonly wrapSource?: (source: CalendarSource) => CalendarSource;
  readonly wrapRefreshes?: (refreshes: RefreshStore) => RefreshStore;
  readonly requestTimeoutMs?: number;
  readonly maxBodyBytes?: number;
  readonly jobDeadlineMs?: number;
}

/** Start it with one connected, discovered account: the simulator's first. Closed after the test. */
export async function openSyncWorld(needs: SyncWorldNeeds): Promise<SyncWorld> {
  const simulator = await createSimulator(needs.simulator);
  onTestFinished(() => simulator.close());
  const [user] = simulator.accounts();
  if (user === undefined) throw new Error("The simulator has no account");
  const google = createTestSource({
    apiRootUrl: simulator.url,
    tokenUrl: simulator.tokenUrl,
    grant: { kind: "refresh-token", refreshToken: user.refreshToken },
    options: {
      wire: {
        ...(needs.requestTimeoutMs === undefined
          ? {}
          : { requestTimeoutMs: needs.requestTimeoutMs }),
        ...(needs.maxBodyBytes === undefined ? {} : { maxBodyBytes: needs.maxBodyBytes }),
      },
    },
  });
  onTestFinished(() => google.guard.close());
  const store = await openTestStore(needs.databaseUrl);
  const account = await store.accounts.connect({
    projectId: projectId("default"),
    tenantId: tenantId("acme"),
    name: accountName("ann"),
    quotaUser: undefined,
    refreshToken: user.refreshToken,
    scopes: [],
    now: store.now(),
  });
  const accountEffects: AccountEffect[] = [];
  const source = needs.wrapSource?.(google.source) ?? google.source;
  const engine = createEngine({ ...needs, source, store, accountEffects });

  const row = async (id: CalendarId): Promise<CalendarRow> => {
    const found = await store.calendars.get(id);
    if (found === undefined) throw new Error(`No calendar ${id}`);
    return found;
  };
  const world: SyncWorld = {
    simulator,
    store,
    google,
    accountId: account.id,
    accountEffects,
    async discover() {
      await store.accounts.requestDiscovery(account.id, store.now());
      return engine.discover(account.id);
    },
    refresh: (id, signal) => engine.refresh(id, signal),
    async refreshNow(id) {
      await store.calendars.request(id, { class: "interactive", dueAt: store.now() });
      return engine.refresh(id);
    },
    calendars: () => store.calendars.list({ limit: 1_000 }),
    row,
    read: (id) => store.readAll(id),
    async truth(id) {
      const { googleId } = await row(id);
      return listTruth(google, googleId);
    },
  };
  const discovered = await world.discover();
  if (discovered.kind !== "applied") throw new Error(`Discovery: ${discovered.kind}`);
  return world;
}

function createEngine(
  needs: SyncWorldNeeds & {
    readonly source: CalendarSource;
    readonly store: TestStore;
    readonly accountEffects: AccountEffect[];
  },
): {
  refresh(id: CalendarId, signal?: AbortSignal): Promise<RefreshOutcome>;
  discover(id: AccountId): Promise<DiscoveryOutcome>;
} {
  const { store, source } = needs;
  const timing = {
    leaseMs: SYNC_LEASE_MS,
    pageDeadlineMs: 20_000,
    consumer: consumer("test"),
  };
  const shared = {
    source,
    clock: store.clock,
    random: () => 0.5,
    onAccountEffect: (effect: AccountEffect) => {
      needs.accountEffects.push(effect);
      return Promise.resolve();
    },
  };
  const refreshes = needs.wrapRefreshes?.(store.refreshes) ?? store.refreshes;
  const refreshCalendar = createRefreshCalendar(
    { ...timing, jobDeadlineMs: needs.jobDeadlineMs ?? 300_000 },
    { ...shared, refreshes, planPoll: pollInTenMinutes },
  );
  const discoverCalendars = createDiscoverCalendars(
    { ...timing, intervalMs: () => 6 * 3_600_000 },
    { ...shared, accounts: store.accounts },
  );
  const run = { class: "interactive", signal: new AbortController().signal } as const;
  return {
    refresh: (id, signal = run.signal) => refreshCalendar(id, { ...run, signal }),
    discover: (id) => discoverCalendars(id, run),
  };
}

async function listTruth(
  google: TestSource,
  googleId: CalendarRow["googleId"],
): Promise<readonly GoogleEvent[]> {
  const events: GoogleEvent[] = [];
  let pageToken: string | undefined;
  do {
    const page = await google.source.listEvents(
      { accountId: "acc_truth" as AccountId, googleCalendarId: googleId },
      { syncToken: undefined, pageToken, pageSize: 2_500 },
      {
        consumer: consumer("truth"),
        class: "interactive",
        earlierAttempt: "none",
        deadlineMs: 20_000,
        signal: new AbortController().signal,
      },
    );
    events.push(...page.items);
    pageToken = page.nextPageToken;
  } while (pageToken !== undefined);
  return events.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}
