import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { loadConfig } from "../../../src/config/config.ts";
import { systemClock } from "../../../src/core/clock.ts";
import type { CalendarRow } from "../../../src/core/calendar-store.ts";
import type { GoogleEvent } from "../../../src/core/google-event.ts";
import { accountName, projectId, tenantId, type CalendarId } from "../../../src/core/ids.ts";
import { REQUEST_CLASSES } from "../../../src/core/request.ts";
import { openAppStore } from "../../../src/operator-app.ts";
import { quotaSettingsPrefix } from "../../../src/quota/ledger-settings.ts";
import { createSimulator, type Simulator } from "../../../src/simulator/simulator.ts";
import type { Store } from "../../../src/store/open-store.ts";
import { compareEvents } from "../../support/compare-events.ts";
import { createPlainClient, listAll } from "../mirror/calendar-writer.ts";
import { createRandom } from "../scenario.ts";
import { openLookInside, WORKER_NAME, type LookInside } from "./look-inside.ts";
import { createWorkerLine, type Worker } from "./worker-line.ts";

/**
 * Workers that are killed at random moments, one after the other, while calendars change, requests
 * arrive, tokens die and Redis loses everything; then nobody is killed any more, and every calendar
 * is compared with Google's.
 *
 * Each worker is stopped (SIGSTOP) and looked at from outside before its SIGKILL: what it was doing is
 * what the database says, not what it says of itself.
 */
export interface CrashFigures {
  readonly database: string;
  readonly kills: number;
  /** Kills that hit an open transaction. */
  readonly inTransaction: number;
  /** Kills that hit a list of which some pages were stored. */
  readonly inListing: number;
  readonly flushes: number;
  readonly changes: number;
  readonly requests: number;
  readonly differences: number;
  /** Requests that were not counted, or not served in the end. */
  readonly lost: number;
  readonly seconds: number;
}

export interface KillWorkersOptions {
  readonly databaseUrl: string;
  /** A Redis of its own: it is emptied. */
  readonly redis: string;
  readonly kills: number;
  readonly seed: number;
  readonly say: (line: string) => void;
}

const ACCOUNTS = 3;
const CALENDARS_EACH = 3;
const PAGE_SIZE = 6;
const PROJECT = projectId("default");
const CHANGES = {
  perSecond: 40,
  mix: { insert: 16, edit: 25, move: 15, delete: 24, undelete: 2, exception: 6, "token-death": 1 },
};
const FLUSH_SHARE = 0.15;
const BUSY_WITHIN_MS = 120_000;
const SETTLE_WITHIN_MS = 180_000;

export async function killWorkers(options: KillWorkersOptions): Promise<CrashFigures> {
  const startedAt = Date.now();
  const random = createRandom(options.seed);
  const scene = await openScene(options);
  try {
    const { simulator, store, line, inside } = scene;
    const calendars = await discoverAll(scene);
    await inside.setPageSize(PAGE_SIZE);
    simulator.changes.start(CHANGES.perSecond, { mix: CHANGES.mix });
    const asker = startAsker(store, calendars, random);
    const tally = { kills: 0, inTransaction: 0, inListing: 0, flushes: 0 };
    const hits = (): number => tally.inTransaction + tally.inListing;
    // Where luck had no kill hit anything, it takes some more.
    while (tally.kills < options.kills || (hits() === 0 && tally.kills < 3 * options.kills)) {
      const fences = await inside.fences();
      const worker = await line.next();
      await untilBusy(simulator);
      if (random() < FLUSH_SHARE) {
        await pause(random() * 100);
        await scene.redis.flushall();
        tally.flushes += 1;
      }
      await pause(10 + random() * 390);
      await asker.whileQuiet(async () => {
        await worker.freeze();
        if (await inside.isInTransaction()) tally.inTransaction += 1;
        if ((await inside.halfRead(fences)) > 0) tally.inListing += 1;
        await worker.kill();
      });
      tally.kills += 1;
      if (tally.kills % 10 === 0) options.say(`${String(tally.kills)} workers killed`);
    }
    const asked = await asker.stop();
    await simulator.changes.stop();
    const last = await line.next();
    const lost = await settle(scene, asked, options.say);
    const differences = await compareAll(scene);
    await last.kill();
    for (const sentence of differences.slice(0, 10)) options.say(sentence);
    return {
      database: options.databaseUrl.startsWith("sqlite:") ? "sqlite" : "postgres",
      ...tally,
      changes: Object.values(simulator.changes.made()).reduce((sum, count) => sum + count, 0),
      requests: [...asked.values()].reduce((sum, { marked }) => sum + marked, 0),
      differences: differences.length,
      lost,
      seconds: Math.round((Date.now() - startedAt) / 1_000),
    };
  } finally {
    await scene.close();
  }
}

interface Scene {
  readonly simulator: Simulator;
  readonly store: Store;
  readonly inside: LookInside;
  readonly redis: Redis;
  readonly line: ReturnType<typeof createWorkerLine>;
  close(): Promise<void>;
}

async function openScene(options: KillWorkersOptions): Promise<Scene> {
  const directory = await mkdtemp(join(tmpdir(), "ballast-crash-"));
  const simulator = await createSimulator({
    seed: options.seed,
    generate: { accounts: ACCOUNTS, calendars: CALENDARS_EACH, events: 40 },
    keepsHistory: false,
    faults: {
      faults: [
        {
          match: { operation: "events.list" },
          answer: {
            kind: "latency",
            latency: { distribution: "uniform", minMs: 2, maxMs: 40 },
          },
        },
      ],
    },
  });
  const environment = {
    PATH: process.env["PATH"] ?? "",
    BALLAST_DATA_DIR: directory,
    GOOGLE_CLIENT_ID: "scenario-client",
    GOOGLE_CLIENT_SECRET: "scenario-secret",
    GOOGLE_API_ROOT_URL: simulator.url,
    GOOGLE_OAUTH_TOKEN_URL: simulator.tokenUrl,
    BALLAST_LOG_LEVEL: process.env["BALLAST_LOG_LEVEL"] ?? "error",
    // Not about the budget; a ledger that lost everything opens again after one window.
    BALLAST_QUOTA_PROJECT_PER_MINUTE: "1000000",
    BALLAST_QUOTA_USER_PER_MINUTE: "1000000",
    BALLAST_QUOTA_PER_DAY: "1000000000",
    BALLAST_QUOTA_WINDOW_SECONDS: "1",
    // Its polls follow each other: also calendars that nobody asks for are being read when it dies.
    BALLAST_POLL_SECONDS: "5",
  };
  const config = loadConfig({ ...environment, DATABASE_URL: options.databaseUrl });
  const store = await openAppStore(config, { clock: systemClock }, { migrateWhenEmpty: true });
  const prefix = quotaSettingsPrefix(PROJECT);
  await store.settings.seed(
    { [`${prefix}useWithinMs`]: 200, [`${prefix}transitMs`]: 100 },
    systemClock.now(),
  );
  const redis = new Redis(options.redis);
  const inside = openLookInside(options.databaseUrl);
  const line = createWorkerLine(
    {
      environment: { ...environment, DATABASE_URL: workersUrl(options.databaseUrl) },
      redis: options.redis,
    },
    { compileCache: join(directory, "compiled") },
  );
  return {
    simulator,
    store,
    inside,
    redis,
    line,
    async close() {
      await line.close();
      await inside.close();
      await store.close();
      redis.disconnect();
      await simulator.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function workersUrl(databaseUrl: string): string {
  return databaseUrl.startsWith("sqlite:")
    ? databaseUrl
    : `${databaseUrl}&application_name=${WORKER_NAME}`;
}

/** Connect every account, and let a first worker live until each calendar is known. */
async function discoverAll({ simulator, store, line }: Scene): Promise<readonly CalendarRow[]> {
  for (const [index, { refreshToken }] of simulator.accounts().entries()) {
    await store.accounts.connect({
      projectId: PROJECT,
      tenantId: tenantId(`tenant-${String(index)}`),
      name: accountName("ann"),
      quotaUser: undefined,
      refreshToken,
      scopes: [],
      now: systemClock.now(),
    });
  }
  const listed = simulator.accounts().reduce((sum, { listedById }) => sum + listedById.size, 0);
  const worker: Worker = await line.next();
  const rows = await until("every calendar to be known", SETTLE_WITHIN_MS, async () => {
    const known = await store.calendars.list({ limit: 1_000 });
    // Not one less than there are: who is not known here is neither asked for nor waited for.
    return known.length === listed ? known : undefined;
  });
  await worker.kill();
  return rows;
}

/** A list has been asked for since the call. */
async function untilBusy(simulator: Simulator): Promise<void> {
  const asked = (): number => simulator.counters().byOperation["events.list"] ?? 0;
  const before = asked();
  await until("a worker to ask for a list", BUSY_WITHIN_MS, () =>
    Promise.resolve(asked() > before ? true : undefined),
  );
}

/** What was asked for of one calendar, and how many requests it had before. */
interface Asked {
  marked: number;
  readonly before: number;
}

interface Asker {
  /** Run something while no request is being written. */
  whileQuiet(work: () => Promise<void>): Promise<void>;
  stop(): Promise<ReadonlyMap<CalendarId, Asked>>;
}

/** Asks for refreshes all the time, as notifications and people would. */
function startAsker(store: Store, calendars: readonly CalendarRow[], random: () => number): Asker {
  const asked = new Map<CalendarId, Asked>(
    calendars.map(({ id, requested }) => [id, { marked: 0, before: requested }]),
  );
  const ids = [...asked.keys()];
  const state = { isStopping: false };
  let turn: Promise<void> = Promise.resolve();
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    turn = turn.then(work);
    return turn;
  };
  const pick = <Item>(items: readonly Item[]): Item | undefined =>
    items[Math.floor(random() * items.length)];
  const ask = async (): Promise<void> => {
    const id = pick(ids);
    const requestClass = pick(REQUEST_CLASSES);
    if (id === undefined || requestClass === undefined) return;
    const mode = random() < 0.4 ? "full" : "incremental";
    const answer = await store.calendars.request(id, {
      class: requestClass,
      dueAt: systemClock.now(),
      mode,
    });
    const noted = asked.get(id);
    if (answer === "marked" && noted !== undefined) noted.marked += 1;
  };
  const loop = async (): Promise<void> => {
    while (!state.isStopping) {
      await inTurn(ask);
      await pause(25);
    }
  };
  const ended = loop();
  return {
    whileQuiet: inTurn,
    async stop() {
      state.isStopping = true;
      await ended;
      return asked;
    },
  };
}

/** Nobody asks again, nobody dies: how many requests are lost when all that was asked is served? */
async function settle(
  { store }: Scene,
  asked: ReadonlyMap<CalendarId, Asked>,
  say: (line: string) => void,
): Promise<number> {
  // The last changes were not asked for: this stands for the poll that would find them.
  for (const [id, noted] of asked) {
    const wish = { class: "interactive", dueAt: systemClock.now() } as const;
    if ((await store.calendars.request(id, wish)) === "marked") noted.marked += 1;
  }
  const deadline = Date.now() + SETTLE_WITHIN_MS;
  let rows = await store.calendars.list({ limit: 1_000 });
  while (rows.some(({ requested, served }) => served < requested) && Date.now() < deadline) {
    await pause(20);
    rows = await store.calendars.list({ limit: 1_000 });
  }
  let lost = 0;
  for (const { id, requested, served, state, stateReason } of rows) {
    const { marked, before } = asked.get(id) ?? { marked: 0, before: requested };
    const uncounted = Math.max(0, before + marked - requested);
    const unserved = Math.max(0, requested - served);
    lost += uncounted + unserved;
    if (uncounted + unserved > 0) {
      say(
        `${id} (${state}, ${String(stateReason)}): asked for ${String(marked)} times after ${String(before)}, ${String(requested)} counted, ${String(served)} served`,
      );
    }
  }
  return lost;
}

/** Every calendar, event by event, as its account sees it. */
async function compareAll({ simulator, store }: Scene): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [index, { refreshToken }] of simulator.accounts().entries()) {
    const client = createPlainClient(
      { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
      refreshToken,
    );
    const rows = await store.calendars.list({
      tenantId: tenantId(`tenant-${String(index)}`),
      limit: 1_000,
    });
    if (rows.length === 0) found.push(`tenant ${String(index)} has no calendars`);
    for (const row of rows) {
      const { id, googleId, state, stateReason, generation, dueReason } = row;
      const name = `${id} (${state}, ${String(stateReason)}, generation ${String(generation)}, ${dueReason})`;
      found.push(...compareEvents(name, await readAll(store, id), await listAll(client, googleId)));
    }
  }
  return found;
}

async function readAll(store: Store, id: CalendarId): Promise<readonly GoogleEvent[]> {
  const events: GoogleEvent[] = [];
  for (let after: string | undefined; ;) {
    const page = await store.events.readEvents(id, { after, limit: 1_000 }, systemClock.now());
    if (page.kind !== "events") throw new Error(`${id}: ${page.kind}`);
    events.push(...page.events);
    if (page.next === undefined) return events;
    after = page.next;
  }
}

async function until<Found>(
  what: string,
  withinMs: number,
  look: () => Promise<Found | undefined>,
): Promise<Found> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`Waited in vain for ${what}`);
    await pause(5);
  }
}

function pause(durationMs: number): Promise<void> {
  return systemClock.sleep(durationMs, new AbortController().signal);
}
