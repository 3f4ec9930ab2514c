import { DatabaseSync } from "node:sqlite";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import type { WorkTiming } from "../../../src/app-parts.ts";
import type { CalendarRow } from "../../../src/core/calendar-store.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { accountName, tenantId, type CalendarId } from "../../../src/core/ids.ts";
import type { FinishedRun } from "../../../src/queue/run-worker.ts";
import { QUEUE_NAMES, QUEUE_PREFIX } from "../../../src/queue/work-queue.ts";
import { createSimulator, type Simulator } from "../../../src/simulator/simulator.ts";
import { openScenarioHome, type ScenarioHome } from "../../support/scenario-home.ts";
import { startPoisonFront, type PoisonFront } from "./poison-front.ts";

/** A Ballast before a Google some of whose calendars are poisoned, with a hand in its rows and its queues. */
export interface PoisonWorld {
  readonly simulator: Simulator;
  readonly front: PoisonFront;
  readonly home: ScenarioHome;
  readonly runs: readonly SeenRun[];
  /** The calendars of one connected account. */
  rowsOf(tenant: string): Promise<readonly CalendarRow[]>;
  row(id: CalendarId): Promise<CalendarRow>;
  /** Due now, whatever they wait for, unless they are set aside: poison that is tried as often as can be. */
  hasten(ids: readonly CalendarId[]): Promise<void>;
  /** As if they had failed that often before. */
  tire(ids: readonly CalendarId[], failures: number): Promise<void>;
  /** Let time pass for one row: everything it remembers was that much longer ago. */
  age(id: CalendarId, ms: number): Promise<void>;
  /** Jobs that nobody can run, in both queues. Returns how many. */
  addGarbageJobs(): Promise<number>;
  close(): Promise<void>;
}

interface SeenRun extends FinishedRun {
  readonly endedMs: number;
}

export const CONCURRENCY = 4;
const TIMING: Omit<WorkTiming, "pageDeadlineMs"> = {
  leaseMs: 8_000,
  queuedForMs: 8_000,
  jobLockMs: 6_000,
};

/** How fast time goes by. */
export interface Pace {
  readonly pollSeconds: number;
  /** A page that hangs pins its worker for this long. */
  readonly pageDeadlineMs: number;
}

/** Tenants in the order of the simulator's accounts; `odd` has one calendar of each poison. */
const TENANTS = ["calm", "busy", "odd", "cursed"] as const;

/** `isCutOff: false` makes the control: nobody's deadline ends a call that hangs, but the wire's own. */
export async function openPoisonWorld({
  seed,
  isCutOff,
  pollSeconds,
  pageDeadlineMs,
}: Pace & {
  readonly seed: number;
  readonly isCutOff: boolean;
}): Promise<PoisonWorld> {
  const closing: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const step of closing.splice(0).toReversed()) await step();
  };
  try {
    const simulator = await createSimulator({
      seed,
      generate: { accounts: TENANTS.length, calendars: 14, events: 20 },
    });
    closing.push(() => simulator.close());
    const front = await startPoisonFront(simulator.url);
    closing.push(() => front.close());
    const runs: SeenRun[] = [];
    const home = await openScenarioHome(
      {
        google: { apiRootUrl: front.url, tokenUrl: `${front.url}token` },
        unlimited: true,
        timing: isCutOff
          ? { ...TIMING, pageDeadlineMs }
          : { ...TIMING, pageDeadlineMs: 60_000, leaseMs: 70_000 },
        env: {
          BALLAST_POLL_SECONDS: String(pollSeconds),
          BALLAST_SAFETY_POLL_SECONDS: String(pollSeconds),
          BALLAST_WORKER_CONCURRENCY: String(CONCURRENCY),
          // Nobody listens there: notifications are another scenario's.
          BALLAST_PUBLIC_URL: "http://127.0.0.1:9",
        },
      },
      {
        onRunFinished: (run) => {
          runs.push({ ...run, endedMs: performance.now() });
        },
      },
    );
    closing.push(() => home.close());
    for (const [index, { refreshToken }] of simulator.accounts().entries()) {
      await home.connect(TENANTS[index] ?? "calm", "main", refreshToken);
    }
    const hand = openHand(home);
    closing.push(() => hand.close());
    return { simulator, front, home, runs, ...hand, ...readers(home), close };
  } catch (error) {
    await close();
    throw error;
  }
}

function readers({ store }: ScenarioHome): Pick<PoisonWorld, "rowsOf" | "row"> {
  return {
    async rowsOf(tenant) {
      const account = await store.accounts.find(tenantId(tenant), accountName("main"));
      if (account === undefined) throw new Error(`${tenant} is not connected`);
      return store.calendars.list({ accountId: account.id, limit: 1_000 });
    },
    async row(id) {
      const row = await store.calendars.get(id);
      if (row === undefined) throw new Error(`${id} is gone`);
      return row;
    },
  };
}

function openHand(
  home: ScenarioHome,
): Pick<PoisonWorld, "hasten" | "tire" | "age" | "addGarbageJobs" | "close"> {
  const { database } = home.config;
  if (typeof database === "string" || database.kind !== "sqlite") {
    throw new Error("This scenario moves rows by hand, in SQLite");
  }
  const db = new DatabaseSync(database.path, { timeout: 0 });
  const connection = new Redis(home.redis.socketPath, { maxRetriesPerRequest: null });
  const hasten = db.prepare(
    `update calendars set due_at = ? where id = ? and due_at > ?
     and slowed_reason is null and lease_until is null
     and not exists (select 1 from queued_calendars where calendar_number = number)`,
  );
  const tire = db.prepare("update calendars set consecutive_failures = ? where id = ?");
  const age = db.prepare(
    `update calendars set due_at = due_at - ?, last_token_death_at = last_token_death_at - ?,
       fresh_until = fresh_until - ?, current_as_of = current_as_of - ? where id = ?`,
  );
  return {
    async hasten(ids) {
      const now = Date.now();
      for (const id of ids) await whenFree(() => hasten.run(now, id, now));
    },
    async tire(ids, failures) {
      for (const id of ids) await whenFree(() => tire.run(failures, id));
    },
    age: (id, ms) => whenFree(() => age.run(ms, ms, ms, ms, id)),
    addGarbageJobs: () => addGarbageJobs(connection),
    close() {
      db.close();
      connection.disconnect();
      return Promise.resolve();
    },
  };
}

/** To wait inside SQLite would hold up the very process whose transaction is waited for. */
async function whenFree(write: () => unknown): Promise<void> {
  for (let left = 500; ; left -= 1) {
    try {
      write();
      return;
    } catch (error) {
      if (left === 0 || !String(error).includes("locked")) throw error;
      await systemClock.sleep(5, new AbortController().signal);
    }
  }
}

async function addGarbageJobs(connection: Redis): Promise<number> {
  const last = { jobs: 0 };
  for (const name of QUEUE_NAMES) {
    const queue = new Queue(name, { connection, prefix: QUEUE_PREFIX });
    // Spoilt before it is put in line: BullMQ itself cannot read it.
    await connection.hset(queue.toKey("spoilt"), {
      name: "refresh-calendar",
      data: "{not json",
      opts: "{}",
      timestamp: String(Date.now()),
    });
    await connection.lpush(queue.toKey("wait"), "spoilt");
    await queue.add("refresh-calendar", { calendarId: 7, class: ["poll"] });
    await queue.add("no-such-job", { calendarId: "cal_1" });
    last.jobs += 3;
    await queue.close();
  }
  return last.jobs;
}

/** Wait for what must come to pass, looking again and again. */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 180_000;
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) throw new Error(`Not in time: ${what}`);
    await systemClock.sleep(100, new AbortController().signal);
  }
}
