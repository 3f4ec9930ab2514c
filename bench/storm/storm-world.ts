import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/config/config.ts";
import type { CalendarRow } from "../../src/core/calendar-store.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, tenantId } from "../../src/core/ids.ts";
import { REQUEST_CLASSES, type RequestClass } from "../../src/core/request.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { openAppStore } from "../../src/operator-app.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import type { Store } from "../../src/store/open-store.ts";
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";
import { BOOKING_CONSUMER } from "./consumers.ts";

/** What is taken away from the workers, to show what it is good for. */
export interface StormExperiment {
  readonly isBreakerHeldClosed: boolean;
  /** The negative control: no try is marked as a retry, so none pays for itself. */
  readonly isEveryTryFirst: boolean;
  /** No limit of the ledger is in reach: what is sent is bounded by whoever sends it. */
  readonly isWithoutLimits?: boolean;
}

/** What a worker is told when it starts. */
export interface StormWorkerOrders {
  readonly environment: Readonly<Record<string, string>>;
  readonly redis: string;
  readonly experiment: StormExperiment;
}

/** What a worker saw of the breaker, by the system's clock. */
export interface BreakerSeen {
  readonly openedAtMs: readonly number[];
  readonly probedAtMs: readonly number[];
}

/** Real workers with claimer and queue on one database and one Redis, in processes of their own. */
export interface StormWorld {
  readonly store: Store;
  readonly calendars: readonly CalendarRow[];
  readonly redisPath: string;
  readonly databasePath: string;
  /** Ask for a calendar's refresh, as a notification, a person or a backfill would. */
  readonly ask: (calendar: CalendarRow, requestClass: RequestClass) => Promise<void>;
  startWorker(): Promise<void>;
  /** SIGKILL to the worker that was started last; resolves when it is gone. */
  killWorker(): Promise<void>;
  /** Let every worker end its work and write down what it has counted. */
  drain(): Promise<readonly BreakerSeen[]>;
  close(): Promise<void>;
}

/** How a storm's Ballast is set up. */
export interface StormWorldOptions {
  readonly simulator: Simulator;
  readonly workers: number;
  readonly windowMs: number;
  readonly limit: number;
  readonly experiment: StormExperiment;
}

const GENEROUS = 1_000_000;
const PUBLISHED_WITHIN_MS = 180_000;
const POLL_SECONDS = "86400";

/** Start it, connect every account and wait until every calendar is published; only then the limits hold. */
export async function openStormWorld(options: StormWorldOptions): Promise<StormWorld> {
  const { simulator } = options;
  const directory = await mkdtemp(join(tmpdir(), "ballast-storm-"));
  const redis = await startPrivateRedis(
    { program: await obtainFleetRedis(), persistent: false },
    { clock: systemClock },
  );
  const environment = environmentOf(options, directory);
  const store = await openAppStore(
    loadConfig(environment),
    { clock: systemClock },
    { migrateWhenEmpty: true },
  );
  const children: ChildProcess[] = [];
  const startWorker = async (): Promise<void> => {
    const child = fork(join(import.meta.dirname, "worker.ts"), { stdio: "inherit" });
    children.push(child);
    const orders: StormWorkerOrders = {
      environment,
      redis: redis.url,
      experiment: options.experiment,
    };
    child.send(orders);
    await Promise.race([once(child, "message"), failWhenItEnds(child)]);
  };
  const killWorker = async (): Promise<void> => {
    const child = children.pop();
    if (child === undefined) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  };
  const drain = (): Promise<readonly BreakerSeen[]> =>
    Promise.all(children.splice(0).map(drainOne));
  const close = async (): Promise<void> => {
    for (const child of children) child.kill("SIGKILL");
    await store.close();
    await redis.stop();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    for (let index = 0; index < options.workers; index += 1) await startWorker();
    const calendars = await connectAll(store, simulator);
    await setLimits(store, options);
    return {
      store,
      calendars,
      redisPath: redis.socketPath,
      databasePath: join(directory, "ballast.db"),
      startWorker,
      killWorker,
      drain,
      close,
      ask: async ({ id }, requestClass) => {
        await store.calendars.request(id, { class: requestClass, dueAt: systemClock.now() });
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function environmentOf(
  { simulator, windowMs }: StormWorldOptions,
  directory: string,
): Readonly<Record<string, string>> {
  return {
    PATH: process.env["PATH"] ?? "",
    BALLAST_DATA_DIR: directory,
    GOOGLE_CLIENT_ID: "storm-client",
    GOOGLE_CLIENT_SECRET: "storm-secret",
    GOOGLE_API_ROOT_URL: simulator.url,
    GOOGLE_OAUTH_TOKEN_URL: simulator.tokenUrl,
    BALLAST_LOG_LEVEL: process.env["BALLAST_LOG_LEVEL"] ?? "fatal",
    BALLAST_POLL_SECONDS: POLL_SECONDS,
    BALLAST_QUOTA_WINDOW_SECONDS: String(windowMs / 1_000),
    BALLAST_QUOTA_PROJECT_PER_MINUTE: String(GENEROUS),
    BALLAST_QUOTA_USER_PER_MINUTE: String(GENEROUS),
    BALLAST_QUOTA_PER_DAY: String(GENEROUS),
  };
}

/** Of no interest once the worker runs: nobody listens any more, and a race swallows its loser. */
async function failWhenItEnds(child: ChildProcess): Promise<never> {
  const [code] = (await once(child, "exit")) as [number | null];
  throw new Error(`A worker ended with code ${String(code)}`);
}

async function drainOne(child: ChildProcess): Promise<BreakerSeen> {
  const ended = once(child, "exit");
  const told = once(child, "message") as Promise<[BreakerSeen]>;
  child.send("stop");
  const [seen] = await told;
  await ended;
  return seen;
}

async function connectAll(store: Store, simulator: Simulator): Promise<readonly CalendarRow[]> {
  const accounts = simulator.accounts();
  for (const [index, { refreshToken }] of accounts.entries()) {
    await store.accounts.connect({
      projectId: projectId("default"),
      tenantId: tenantId(`tenant-${String(index)}`),
      name: accountName(`account-${String(index)}`),
      quotaUser: undefined,
      refreshToken,
      scopes: ["https://www.googleapis.com/auth/calendar.readonly"],
      now: systemClock.now(),
    });
  }
  const expected = accounts.reduce((sum, { listedById }) => sum + listedById.size, 0);
  const deadlineMs = performance.now() + PUBLISHED_WITHIN_MS;
  for (;;) {
    const rows = await store.calendars.list({ limit: 1_000 });
    if (rows.length >= expected && rows.every(({ generation }) => generation > 0)) return rows;
    if (performance.now() > deadlineMs) {
      throw new Error(
        `${String(rows.filter(({ generation }) => generation > 0).length)} of ${String(expected)} calendars were published in time`,
      );
    }
    await systemClock.sleep(100, new AbortController().signal);
  }
}

async function setLimits(
  store: Store,
  { limit: ofGoogle, windowMs, experiment }: StormWorldOptions,
): Promise<void> {
  const limit = experiment.isWithoutLimits === true ? GENEROUS : ofGoogle;
  const isShort = windowMs < 60_000;
  const values = {
    projectPerMinute: limit,
    userPerMinute: limit,
    [`consumer:${BOOKING_CONSUMER}`]: { cap: 1, classes: [...REQUEST_CLASSES] },
    ...(isShort ? { useWithinMs: 200, transitMs: 100, breakerFirstMs: 1_000 } : {}),
  };
  for (const [name, value] of Object.entries(values)) {
    const by = { actor: "bench", reason: "the storm's limits", now: systemClock.now() };
    await store.settings.set(`quota.default.${name}`, value, by);
  }
}
