import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { startGoogle, type Google } from "../../../bench/stacks/google.ts";
import { loadConfig } from "../../../src/config/config.ts";
import { systemClock } from "../../../src/core/clock.ts";
import type { RequestClass } from "../../../src/core/request.ts";
import { calendarId, type CalendarId } from "../../../src/core/ids.ts";
import { obtainRedis } from "../../../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../../../src/embedded/redis-server.ts";
import { openAppStore } from "../../../src/operator-app.ts";
import type { FinishedRun } from "../../../src/queue/run-worker.ts";
import { QUEUE_PREFIX } from "../../../src/queue/work-queue.ts";
import type { Store } from "../../../src/store/open-store.ts";
import { fillTenant } from "../../support/fill-tenant.ts";

/** What a worker process is told when it starts. */
export interface WorkerOrders {
  readonly environment: Readonly<Record<string, string>>;
  readonly redis: string;
}

/** A job that a worker process has run; moments by the wall clock, which all processes here share. */
export interface SeenRun extends Pick<FinishedRun, "queue" | "job" | "outcome"> {
  readonly calendarId?: string;
  readonly code?: string;
  readonly startedAt: number;
  readonly endedAt: number;
}

/** A Google, a Redis and a worker in processes of their own, and a database that this process writes wishes into. */
export interface LanesWorld {
  readonly google: Google;
  readonly store: Store;
  /** Every run of the present worker, as they end. */
  readonly runs: readonly SeenRun[];
  startWorker(): void;
  /** Drained, so that the next one finds everything as it should be. */
  stopWorker(): Promise<void>;
  /** Connect accounts of a tenant whose calendars are known already, each due at once as a poll. */
  fill(tenant: string, accounts: number): Promise<readonly CalendarId[]>;
  /** Make one due now; when that was. */
  makeDue(id: CalendarId, requestClass: RequestClass): Promise<number>;
  /** Calendars whose jobs wait in the background queue, the next one first. */
  queued(): Promise<readonly CalendarId[]>;
  close(): Promise<void>;
}

export const CALENDARS_PER_ACCOUNT = 100;

export async function openLanesWorld(options: {
  readonly seed: number;
  readonly concurrency: number;
  readonly say: (line: string) => void;
}): Promise<LanesWorld> {
  const closing: (() => Promise<unknown> | undefined)[] = [];
  const close = async (): Promise<void> => {
    for (const step of closing.splice(0).toReversed()) await step();
  };
  try {
    const directory = await mkdtemp(join(tmpdir(), "ballast-lanes-"));
    closing.push(() => rm(directory, { recursive: true, force: true }));
    const program = await obtainRedis({ searchPath: process.env["PATH"] ?? "" }, options);
    const server = await startPrivateRedis({ program, persistent: false }, { clock: systemClock });
    closing.push(() => server.stop());
    // One Google account for all of ours: what is measured here is who is next, not what is read.
    const google = await startGoogle({
      seed: options.seed,
      generate: { accounts: 1, calendars: CALENDARS_PER_ACCOUNT - 1, events: 2 },
      keepsHistory: false,
    });
    closing.push(() => {
      google.stop();
      return undefined;
    });
    const user = google.accounts[0];
    if (user === undefined) throw new Error("The simulator has no account");
    const environment = environmentOf(directory, google, options.concurrency);
    const config = loadConfig(environment);
    const store = await openAppStore(config, { clock: systemClock }, { migrateWhenEmpty: true });
    closing.push(() => store.close());
    const redis = new Redis(server.url, { maxRetriesPerRequest: null });
    closing.push(() => redis.quit());
    const worker = createWorkerSlot({ environment, redis: server.url });
    closing.push(() => worker.stop());
    return {
      google,
      store,
      runs: worker.runs,
      startWorker: () => worker.start(),
      stopWorker: () => worker.stop(),
      fill: (tenant, accounts) => fillTenant(store, { tenant, accounts, user }),
      async makeDue(id, requestClass) {
        const dueAt = systemClock.now();
        await store.calendars.request(id, { class: requestClass, dueAt });
        return dueAt;
      },
      queued: () => readQueued(redis),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function environmentOf(
  directory: string,
  google: Google,
  concurrency: number,
): Readonly<Record<string, string>> {
  return {
    PATH: process.env["PATH"] ?? "",
    BALLAST_DATA_DIR: directory,
    GOOGLE_CLIENT_ID: "scenario-client",
    GOOGLE_CLIENT_SECRET: "scenario-secret",
    GOOGLE_API_ROOT_URL: google.url,
    GOOGLE_OAUTH_TOKEN_URL: google.tokenUrl,
    BALLAST_LOG_LEVEL: process.env["BALLAST_LOG_LEVEL"] ?? "error",
    BALLAST_WORKER_CONCURRENCY: String(concurrency),
    // The project's minute is Google's own; all accounts are one user here, which none of this is about.
    BALLAST_QUOTA_USER_PER_MINUTE: "10000000",
    BALLAST_POLL_SECONDS: "3600",
  };
}

function createWorkerSlot(orders: WorkerOrders): {
  readonly runs: readonly SeenRun[];
  start(): void;
  stop(): Promise<void>;
} {
  const runs: SeenRun[] = [];
  let stop: (() => Promise<void>) | undefined;
  return {
    runs,
    start() {
      const child = fork(new URL("worker.ts", import.meta.url).pathname, { stdio: "inherit" });
      const ended = once(child, "exit");
      child.on("message", (run: SeenRun) => {
        runs.push(run);
      });
      child.send(orders);
      stop = async () => {
        if (child.connected) child.send("stop");
        await ended;
        if (child.exitCode !== 0) {
          throw new Error(`The worker ended with ${String(child.exitCode ?? child.signalCode)}`);
        }
      };
    },
    async stop() {
      const stopping = stop;
      stop = undefined;
      await stopping?.();
    },
  };
}

const JOB_ID = /^refresh-calendar-(?<id>cal_[0-9A-Za-z_-]+)-\d+$/;

async function readQueued(redis: Redis): Promise<readonly CalendarId[]> {
  // BullMQ adds at the head and takes from the tail.
  const jobs = await redis.lrange(`${QUEUE_PREFIX}:background:wait`, 0, -1);
  return jobs.toReversed().flatMap((job) => {
    const id = JOB_ID.exec(job)?.groups?.["id"];
    return id === undefined ? [] : [calendarId(id)];
  });
}
