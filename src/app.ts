/**
 * The composition root: builds every part of a process, starts it, drains it, stops it.
 *
 * States: starting → running → draining (once) → stopped. What was started before a failing step is
 * stopped again before the failure is thrown.
 */
import type { JobContext } from "../jobs/context.ts";
import { createFeed } from "../jobs/feed-queue.ts";
import { JOBS } from "../jobs/index.ts";
import { measureRefresh } from "../jobs/measure-refresh.ts";
import type { Config } from "./config/config.ts";
import type { CalendarSource } from "./core/calendar-source.ts";
import type { Clock } from "./core/clock.ts";
import { runDrain, type DrainedStep, type DrainStep } from "./core/drain.ts";
import type { StoreHealth } from "./core/store-health.ts";
import { consumer, projectId } from "./core/ids.ts";
import { openGoogle } from "./open-google.ts";
import { openAppStore } from "./operator-app.ts";
import { createHttpServer } from "./http/create-http-server.ts";
import { createMetrics, type Metrics } from "./observability/metrics.ts";
import type { Logger } from "./observability/logger.ts";
import { createRunRecorder } from "./observability/run-record.ts";
import { createStatus, type Status } from "./operate/status.ts";
import { startClaimer } from "./queue/claimer.ts";
import { runWorkers, type FinishedRun } from "./queue/run-worker.ts";
import { openWorkQueue, type WorkQueue } from "./queue/work-queue.ts";
import { measureRequests } from "./quota/measure-requests.ts";
import { createRedisTokenExchange } from "./quota/redis-token-exchange.ts";
import { readQuotaStatus } from "./quota/quota-status.ts";
import { startBudget, type RecordedBudget } from "./start-budget.ts";
import type { Store } from "./store/open-store.ts";
import { createDiscoverCalendars } from "./sync/discover-calendars.ts";
import { createRefreshCalendar } from "./sync/refresh-calendar.ts";
import { createReportAccount } from "./sync/report-account.ts";
import { whenStorable } from "./sync/when-storable.ts";

/** There is one project for now; schema, keys and code know several. */
const PROJECT = projectId("default");

const HOUR_MS = 3_600_000;
const DISCOVERY_INTERVAL_MS = 6 * HOUR_MS;
const REFRESHES_PER_MINUTE = 600;
const SAME_TROUBLE_MS = 60_000;

export interface AppOptions {
  /** `worker` syncs, `web` answers HTTP, `all` does both. */
  readonly role: "all" | "worker" | "web";
  /** A redis:// or rediss:// URL, or the absolute path of a socket. */
  readonly redis: string;
  /** Make the schema of an empty embedded database: for `start` and for tests. */
  readonly migrateWhenEmpty?: boolean;
  /** Shorter than the defaults in tests that kill workers and wait for their work to be taken over. */
  readonly timing?: Partial<WorkTiming>;
}

/** How long a worker's claims on work outlive it when it dies. */
export interface WorkTiming {
  /** Longer than a page may take, or its holder is fenced out at work. */
  readonly leaseMs: number;
  readonly pageDeadlineMs: number;
  readonly queuedForMs: number;
  readonly jobLockMs: number;
}

const TIMING: WorkTiming = {
  leaseMs: 75_000,
  pageDeadlineMs: 45_000,
  queuedForMs: 60_000,
  jobLockMs: 30_000,
};

export interface AppDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told of every finished job, after its line was written. */
  readonly onRunFinished?: (run: FinishedRun) => void;
  /** Whether to fetch, in place of the database's own word: for experiments that show what that is good for. */
  readonly storeHealth?: StoreHealth;
}

/** A running process. Whoever starts it drains it. */
export interface App {
  /** Where HTTP is answered; undefined for a worker. */
  readonly httpUrl: string | undefined;
  status(): Promise<Status>;
  /** Stops everything in order, within the configured time; tells what became of each step. */
  drain(): Promise<readonly DrainedStep[]>;
}

/** Start a process. Rejects, with nothing left running, when a part cannot be started. */
export async function startApp(config: Config, options: AppOptions, deps: AppDeps): Promise<App> {
  const started: DrainStep[] = [];
  const drain = (): Promise<readonly DrainedStep[]> =>
    runDrain(started.splice(0).toReversed(), { deadlineMs: config.shutdownMs, clock: deps.clock });
  try {
    return { ...(await startParts({ config, options, deps, started })), drain };
  } catch (error) {
    await drain();
    throw error;
  }
}

/** What every part is started with; each adds the step that stops it, so that the last started stops first. */
interface Starting {
  readonly config: Config;
  readonly options: AppOptions;
  readonly deps: AppDeps;
  readonly started: DrainStep[];
}

async function startParts(starting: Starting): Promise<Omit<App, "drain">> {
  const { config, options, deps, started } = starting;
  const opened = await openAppStore(config, deps, {
    migrateWhenEmpty: options.migrateWhenEmpty ?? false,
  });
  started.push({ name: "database", run: () => opened.close() });
  const store = { ...opened, health: deps.storeHealth ?? opened.health };

  const queue = await openWorkQueue(
    { redis: options.redis, connectWithinMs: 5_000 },
    { onError: tellTrouble(deps, "Redis trouble") },
  );
  started.push({ name: "queue", run: () => queue.close() });
  const budget = await startBudget(
    { redis: options.redis, projectId: PROJECT, quota: config.quota },
    { ...deps, store, onRedisError: tellTrouble(deps, "Redis trouble") },
  );
  started.push({ name: "quota", run: () => budget.close() });
  const metrics = createMetrics({ withProcess: true });
  const status = createStatus({
    calendars: store.calendars,
    accounts: store.accounts,
    usage: store.usage,
    deadGrants: store.deadGrants,
    readQuota: () => readQuotaStatus(budget.ledger, deps.clock),
    clock: deps.clock,
  });
  if (options.role !== "web") startWorker(starting, { store, budget, metrics, queue });
  const httpUrl =
    options.role === "worker"
      ? undefined
      : await startHttp(starting, { store, metrics, status, queue });
  return { httpUrl, status };
}

interface Parts {
  readonly store: Store;
  readonly budget: RecordedBudget;
  readonly metrics: Metrics;
  readonly queue: WorkQueue;
}

function startWorker(starting: Starting, parts: Parts): void {
  const { config, options, deps, started } = starting;
  const timing = { ...TIMING, ...options.timing };
  const { store, queue } = parts;
  const google = openGoogle(config, {
    broker: parts.budget.broker,
    store,
    observers: [measureRequests(parts.metrics), parts.budget.usage],
    exchange: createRedisTokenExchange({
      redis: parts.budget.redis,
      seal: store.vault,
      clock: deps.clock,
    }),
    clock: deps.clock,
  });
  started.push({ name: "google", run: () => google.close() });
  const record = createRunRecorder({ logger: deps.logger, metrics: parts.metrics });
  const workers = runWorkers(
    {
      redis: options.redis,
      jobLockMs: timing.jobLockMs,
      concurrency: {
        background: config.worker.concurrency,
        interactive: Math.max(2, Math.ceil(config.worker.concurrency / 4)),
      },
    },
    {
      context: createJobContext(starting, { store, source: google.source }),
      jobs: JOBS,
      clock: deps.clock,
      onFinished: (run) => {
        record(run);
        measureRefresh(parts.metrics, run);
        deps.onRunFinished?.(run);
      },
      setAside: ({ queue: name, job, jobId, problem }) =>
        store.operatorLog.append({
          at: deps.clock.now(),
          actor: "ballast",
          action: "job.set-aside",
          subject: `${name}/${job}`,
          reason: problem,
          details: { jobId },
        }),
      onError: tellTrouble(deps, "Redis trouble"),
    },
  );
  // Most of the time is theirs: they let running jobs end, then give them back.
  started.push({ name: "workers", weight: 6, run: (signal) => workers.drain(signal) });

  const claimer = startClaimer(
    { restMs: 250, backoffMs: 1_500 },
    {
      clock: deps.clock,
      claim: createFeed(
        {
          queueDepth: config.worker.concurrency * 8,
          perTenant: config.worker.concurrency * 4,
          queuedForMs: timing.queuedForMs,
        },
        { ...store, storeHealth: store.health, queue, clock: deps.clock },
      ),
      onError: tellTrouble(deps, "The claimer could not look"),
    },
  );
  started.push({ name: "claimer", run: () => claimer.stop() });
}

function createJobContext(
  { config, options, deps }: Starting,
  parts: { readonly store: Store; readonly source: CalendarSource },
): JobContext {
  const { store, source } = parts;
  const { clock } = deps;
  const shared = {
    source,
    clock,
    random: Math.random,
    onAccountEffect: createReportAccount({ ...store, logger: deps.logger, clock }),
  };
  const timing = { ...TIMING, ...options.timing, consumer: consumer(config.consumer) };
  const waiting = { storeHealth: store.health, clock };
  return {
    refreshCalendar: whenStorable(
      createRefreshCalendar(
        { ...timing, jobDeadlineMs: 300_000, pollIntervalMs: config.pollIntervalMs },
        { ...shared, refreshes: store.refreshes },
      ),
      waiting,
    ),
    discoverCalendars: whenStorable(
      createDiscoverCalendars(
        { ...timing, intervalMs: DISCOVERY_INTERVAL_MS },
        { ...shared, accounts: store.accounts },
      ),
      waiting,
    ),
  };
}

async function startHttp(
  { config, deps, started }: Starting,
  parts: {
    readonly store: Store;
    readonly metrics: Metrics;
    readonly status: () => Promise<Status>;
    readonly queue: WorkQueue;
  },
): Promise<string> {
  const { store, metrics, status, queue } = parts;
  const server = await createHttpServer(
    {
      ...config.http,
      tokens: config.apiTokens,
      refreshesPerMinute: REFRESHES_PER_MINUTE,
      closeWithinMs: 2_000,
    },
    {
      clock: deps.clock,
      logger: deps.logger,
      status,
      metrics: {
        contentType: metrics.contentType,
        render: async () => {
          const { calendars, backlog } = await status();
          if (calendars !== undefined) metrics.setCalendars(calendars);
          if (backlog !== undefined) metrics.setBacklog(backlog);
          return metrics.render();
        },
      },
      accounts: store.accounts,
      calendars: store.calendars,
      readiness: () => readReadiness(store, queue),
    },
  );
  started.push({ name: "http", run: () => server.close() });
  return server.url;
}

/** What a load balancer should know: can this process do its work now? */
async function readReadiness(
  store: Store,
  queue: WorkQueue,
): Promise<readonly { readonly name: string; readonly reason: string }[]> {
  const checks: readonly (readonly [name: string, check: () => Promise<unknown>])[] = [
    ["database", () => store.migrations.status()],
    ["redis", () => queue.waiting("background")],
  ];
  const results = await Promise.allSettled(checks.map(([, check]) => check()));
  return results.flatMap((result, index) =>
    result.status === "fulfilled"
      ? []
      : [{ name: checks[index]?.[0] ?? "", reason: reasonOf(result.reason) }],
  );
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** One line when a trouble begins, and not one for every try to get past it. */
function tellTrouble({ logger, clock }: AppDeps, message: string): (error: unknown) => void {
  let last = { text: "", atMs: 0 };
  return (error) => {
    const text = error instanceof Error ? error.message : String(error);
    const nowMs = clock.monotonicMs();
    const isNews = text !== last.text || nowMs - last.atMs > SAME_TROUBLE_MS;
    last = { text, atMs: nowMs };
    if (isNews) logger.log("warn", message, { error });
  };
}
