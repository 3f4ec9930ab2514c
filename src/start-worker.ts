import type { JobContext } from "../jobs/context.ts";
import { createFeed } from "../jobs/feed-queue.ts";
import { JOBS } from "../jobs/index.ts";
import { measureRefresh } from "../jobs/measure-refresh.ts";
import { tellTrouble, type Parts, type Starting, type WorkTiming } from "./app-parts.ts";
import type { CalendarSource } from "./core/calendar-source.ts";
import { consumer } from "./core/ids.ts";
import { createRunRecorder } from "./observability/run-record.ts";
import { openGoogle } from "./open-google.ts";
import { startClaimer } from "./queue/claimer.ts";
import { runWorkers } from "./queue/run-worker.ts";
import { measureRequests } from "./quota/measure-requests.ts";
import { createRedisTokenExchange } from "./quota/redis-token-exchange.ts";
import type { Store } from "./store/open-store.ts";
import { createDiscoverCalendars } from "./sync/discover-calendars.ts";
import { createRefreshCalendar } from "./sync/refresh-calendar.ts";
import { createReportAccount } from "./sync/report-account.ts";
import { whenStorable } from "./sync/when-storable.ts";

const HOUR_MS = 3_600_000;
const DISCOVERY_INTERVAL_MS = 6 * HOUR_MS;

const TIMING: WorkTiming = {
  leaseMs: 75_000,
  pageDeadlineMs: 45_000,
  queuedForMs: 60_000,
  jobLockMs: 30_000,
};

/** The part of a process that syncs: the way to Google, the workers and the claimer that feeds them. */
export function startWorker(starting: Starting, parts: Parts): void {
  const { config, options, deps, started } = starting;
  const timing = { ...TIMING, ...options.timing };
  const { store, queue } = parts;
  const google = openGoogle(config, {
    broker: deps.wrapBroker?.(parts.budget.broker) ?? parts.budget.broker,
    store,
    observers: [measureRequests(parts.metrics), parts.budget.usage],
    exchange: createRedisTokenExchange({
      redis: parts.budget.redis,
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
