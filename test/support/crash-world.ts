import { onTestFinished } from "vitest";
import type { CalendarSource } from "../../src/core/calendar-source.ts";
import { consumer } from "../../src/core/ids.ts";
import type { RefreshStore } from "../../src/core/refresh-store.ts";
import type { RequestClass } from "../../src/core/request.ts";
import { createAccountStore } from "../../src/store/accounts.ts";
import { mirrorOf } from "../../src/store/busy-mirror.ts";
import type { Database } from "../../src/store/database.ts";
import { openPostgresDatabase } from "../../src/store/postgres-database.ts";
import { createRefreshStore } from "../../src/store/refreshes.ts";
import { openSqliteDatabase } from "../../src/store/sqlite-database.ts";
import { createDiscoverCalendars } from "../../src/sync/discover-calendars.ts";
import { createRefreshCalendar } from "../../src/sync/refresh-calendar.ts";
import type { AccountEffect } from "../../src/sync/account-effect.ts";
import { testVault } from "../conformance/store-fixture.ts";
import { compareEvents } from "./compare-events.ts";
import { createJudge, type Came, type Watched } from "./crash-judge.ts";
import { createSteps, type Fate, type Step, type Steps } from "./crash-steps.ts";
import { openSyncWorld, pollInTenMinutes, SYNC_LEASE_MS, type SyncWorld } from "./sync-world.ts";

/** One thing that happens; `calendar` counts from 0 and wraps around. */
export type Happening =
  | { readonly do: "change"; readonly calendar: number; readonly count: number }
  | { readonly do: "kill-token"; readonly calendar: number }
  | {
      readonly do: "request";
      readonly calendar: number;
      readonly class: RequestClass;
      readonly mode: "incremental" | "full";
    }
  | {
      readonly do: "refresh";
      readonly calendar: number;
      /** Somebody wants it, so that it is due. */
      readonly isWanted: boolean;
      readonly fate: Fate | undefined;
    }
  | { readonly do: "discover"; readonly fate: Fate | undefined }
  | { readonly do: "wake" }
  | { readonly do: "pass"; readonly ms: number };

/**
 * The sync engine in processes that can be stopped between any two steps, over one database and one
 * simulator, with a judge beside it who looks between all steps.
 */
export interface CrashWorld {
  /** Tells at which step a process died of it. */
  happen(happening: Happening): Promise<Step | undefined>;
  /** Let everything that stands still go on; then only time passes, and nobody asks again. */
  recover(): Promise<void>;
  /** Every broken rule, and every difference to Google's own full list, in words. */
  problems(): Promise<readonly string[]>;
}

/** Open it on an empty database; everything is closed after the test. */
export async function openCrashWorld(
  needs: { readonly databaseUrl: string; readonly seed: number; readonly pageSize: number },
  came: Came,
): Promise<CrashWorld> {
  const world = await openSyncWorld({
    databaseUrl: needs.databaseUrl,
    simulator: { seed: needs.seed, generate: { accounts: 1, calendars: 2, events: 16 } },
  });
  const database = openDatabase(needs.databaseUrl);
  onTestFinished(() => database.close());
  await database.write((trx) =>
    trx.updateTable("calendars").set({ page_size: needs.pageSize }).execute(),
  );
  const judge = await createJudge(world, database, came);
  const processes = createProcesses(came);
  const refreshing = (
    watched: Watched,
    fate: Fate | undefined,
    onStep: () => Promise<void> = () => judge.look(watched),
  ): Promise<Step | undefined> => {
    const fence = judge.watchFence(watched);
    return processes.run({
      fate,
      onStep,
      onWrite: fence.onWrite,
      async onMeddle() {
        await world.store.clock.advance(1);
        change(watched, 3);
        await judge.request(watched, { class: "push", mode: "incremental" });
        await world.store.clock.advance(1);
      },
      work: (steps) =>
        refresh({
          world,
          watched,
          source: judge.watchSource(watched, steps.wrapSource(world.google.source)),
          refreshes: fence.watch(
            createRefreshStore({
              database: steps.wrapDatabase(database),
              mirror: mirrorOf("full"),
            }),
          ),
        }),
    });
  };
  const change = (watched: Watched, count: number): void => {
    world.simulator.changes.apply(count, { calendars: [watched.googleId], mix: CHANGES });
    judge.noteGoogle();
  };
  const pick = (number: number): Watched => {
    const watched = judge.calendars[number % judge.calendars.length];
    if (watched === undefined) throw new Error("No calendar was discovered");
    return watched;
  };

  const happen = async (one: Happening): Promise<Step | undefined> => {
    switch (one.do) {
      case "change":
        change(pick(one.calendar), one.count);
        return undefined;
      case "kill-token": {
        const { googleId } = pick(one.calendar);
        world.simulator.changes.apply(1, { mix: { "token-death": 1 }, calendars: [googleId] });
        return undefined;
      }
      case "request":
        await judge.request(pick(one.calendar), one);
        return undefined;
      case "refresh":
        if (one.isWanted) {
          await judge.request(pick(one.calendar), { class: "push", mode: "incremental" });
        }
        return refreshing(pick(one.calendar), one.fate);
      case "discover":
        return processes.run({
          fate: one.fate,
          work: (steps) => discover(world, steps, database),
        });
      case "wake":
        await processes.wake();
        return undefined;
      case "pass":
        await world.store.clock.advance(one.ms);
        return undefined;
    }
  };

  return {
    async happen(one) {
      await world.store.clock.advance(1);
      const diedAt = await happen(one);
      for (const watched of judge.calendars) await judge.look(watched);
      return diedAt;
    },
    async recover() {
      await processes.wakeAll();
      // Twice at least: the second day's poll sees what changed after the last request.
      for (let day = 0; day < RECOVERED_WITHIN_DAYS; day += 1) {
        if (day >= 2 && !(await judge.isLeftUnserved())) return;
        await world.store.clock.advance(DAY_MS);
        for (const watched of judge.calendars) {
          await refreshing(watched, undefined, nothing);
          await judge.look(watched);
        }
      }
    },
    async problems() {
      const isLost = await judge.isLeftUnserved();
      const lost = isLost ? ["I6: a request was never served"] : [];
      return [...judge.problems, ...lost, ...(await differences(world))];
    },
  };
}

/** As many deletions as additions: a long run's calendars stay as small as they were. */
const CHANGES = { insert: 16, edit: 25, move: 15, delete: 24, undelete: 2, exception: 6 };
const DAY_MS = 24 * 3_600_000;
const RECOVERED_WITHIN_DAYS = 6;
const HELD_AT_MOST = 2;

interface Process {
  readonly fate: Fate | undefined;
  readonly onStep?: () => Promise<void>;
  readonly onMeddle?: () => Promise<void>;
  readonly onWrite?: () => Promise<void>;
  readonly work: (steps: Steps) => Promise<unknown>;
}

/** Processes of which one at a time goes on; some of the others stand still at a step. */
function createProcesses(came: Came): {
  /** Until it ends, dies or stands still; tells at which step it died. */
  run(process: Process): Promise<Step | undefined>;
  /** Let the one that has stood longest go on to its end. */
  wake(): Promise<void>;
  wakeAll(): Promise<void>;
} {
  const standing: { readonly steps: Steps; readonly ended: Promise<void> }[] = [];
  const wake = async (): Promise<void> => {
    const first = standing.shift();
    first?.steps.release();
    await first?.ended;
  };
  return {
    wake,
    async run({ fate, work, ...process }) {
      const steps = createSteps(fate, {
        onStep: process.onStep ?? nothing,
        onMeddle: process.onMeddle ?? nothing,
        onWrite: process.onWrite ?? nothing,
      });
      const ended = endOf(work(steps), steps, came);
      const isHeld = await Promise.race([steps.held.then(() => true), ended.then(() => false)]);
      if (isHeld) standing.push({ steps, ended });
      if (standing.length > HELD_AT_MOST) await wake();
      return steps.diedAt();
    },
    async wakeAll() {
      while (standing.length > 0) await wake();
    },
  };
}

const nothing = (): Promise<void> => Promise.resolve();

async function endOf(work: Promise<unknown>, steps: Steps, came: Came): Promise<void> {
  try {
    await work;
  } catch (error) {
    const diedAt = steps.diedAt();
    if (diedAt === undefined) throw error;
    came.crashes[diedAt] += 1;
  }
}

function openDatabase(url: string): Database {
  return url.startsWith("sqlite:")
    ? openSqliteDatabase(url.slice("sqlite:".length))
    : openPostgresDatabase(url);
}

const ENGINE = {
  leaseMs: SYNC_LEASE_MS,
  pageDeadlineMs: 20_000,
  jobDeadlineMs: 300_000,
  intervalMs: () => 6 * 3_600_000,
  consumer: consumer("test"),
};
const RUN = { class: "poll", signal: new AbortController().signal } as const;

const blameNobody = ({ reason }: AccountEffect): Promise<void> =>
  Promise.reject(new Error(`The account is not to blame: ${reason}`));

/** A process that refreshes one calendar. */
function refresh(process: {
  readonly world: SyncWorld;
  readonly watched: Watched;
  readonly source: CalendarSource;
  readonly refreshes: RefreshStore;
}): Promise<unknown> {
  const { world, watched, source, refreshes } = process;
  const run = createRefreshCalendar(ENGINE, {
    source,
    refreshes,
    clock: world.store.clock,
    random: () => 0.5,
    planPoll: pollInTenMinutes,
    onAccountEffect: blameNobody,
  });
  return run(watched.id, RUN);
}

/** A process that discovers the account's calendars. */
async function discover(world: SyncWorld, steps: Steps, database: Database): Promise<void> {
  const { store, google, accountId } = world;
  await store.accounts.requestDiscovery(accountId, store.now());
  const run = createDiscoverCalendars(ENGINE, {
    source: steps.wrapSource(google.source),
    accounts: createAccountStore({
      database: steps.wrapDatabase(database),
      vault: testVault,
      clock: store.clock,
      mirror: mirrorOf("full"),
    }),
    clock: store.clock,
    random: () => 0.5,
    onAccountEffect: blameNobody,
  });
  await run(accountId, RUN);
}

async function differences(world: SyncWorld): Promise<readonly string[]> {
  const found: string[] = [];
  for (const { id } of await world.calendars()) {
    const copy = await world.read(id);
    found.push(...compareEvents(String(id), copy, await world.truth(id)));
  }
  return found;
}
