import type { JobContext } from "../jobs/context.ts";
import { JOBS } from "../jobs/index.ts";
import { measureRefresh } from "../jobs/measure-refresh.ts";
import { measureRenewal } from "../jobs/measure-renewal.ts";
import { reportLost } from "../jobs/report-lost.ts";
import {
  pushTimingOf,
  tellTrouble,
  type Parts,
  type Starting,
  type WorkTiming,
} from "./app-parts.ts";
import { consumer, type CalendarId } from "./core/ids.ts";
import type { Metrics } from "./observability/metrics.ts";
import { createRunRecorder } from "./observability/run-record.ts";
import { openGoogle, type OpenGoogle } from "./open-google.ts";
import { startChanges } from "./start-changes.ts";
import { startPolls } from "./start-polls.ts";
import { startRemovals } from "./start-removals.ts";
import { runWorkers } from "./queue/run-worker.ts";
import { measureRequests } from "./quota/measure-requests.ts";
import { createRedisTokenExchange } from "./quota/redis-token-exchange.ts";
import { startFeeding } from "./start-claimer.ts";
import type { Store } from "./store/open-store.ts";
import { createDiscoverCalendars } from "./sync/discover-calendars.ts";
import { createJudgeSilence } from "./sync/judge-silence.ts";
import type { PollPlans } from "./sync/keep-poll-plan.ts";
import { unprovenIntervalMs } from "./sync/plan-polls.ts";
import { createRefreshCalendar } from "./sync/refresh-calendar.ts";
import { createRenewChannel, type RenewChannel } from "./sync/renew-channel.ts";
import { createReportAccount } from "./sync/report-account.ts";
import { whenStorable } from "./sync/when-storable.ts";

const HOUR_MS = 3_600_000;
const SILENT_AGAIN_AFTER_MS = 6 * HOUR_MS;

const TIMING: WorkTiming = {
  leaseMs: 75_000,
  pageDeadlineMs: 45_000,
  queuedForMs: 60_000,
  jobLockMs: 30_000,
};

const RENEWAL = {
  leaseMs: 120_000,
  callDeadlineMs: 30_000,
  againAfterMs: SILENT_AGAIN_AFTER_MS,
} as const;

/** The part of a process that syncs: the way to Google, the workers and the claimer that feeds them. */
export function startWorker(starting: Starting, parts: Parts): void {
  const { config, options, deps, started } = starting;
  const timing = { ...TIMING, ...options.timing };
  const { store } = parts;
  const google = openWayToGoogle(starting, parts);
  const polls = startPolls(starting, { store, hasPush: google.push !== undefined });
  startRemovals(starting, { store, leaving: google.leaving });
  startChanges(starting, parts);
  const record = createRunRecorder({ logger: deps.logger, metrics: parts.metrics });
  const concurrency = {
    background: config.worker.concurrency,
    interactive: Math.max(2, Math.ceil(config.worker.concurrency / 4)),
  };
  const workers = runWorkers(
    {
      redis: options.redis,
      jobLockMs: timing.jobLockMs,
      concurrency,
    },
    {
      context: createJobContext(starting, { store, google, polls, metrics: parts.metrics }),
      jobs: JOBS,
      clock: deps.clock,
      onFinished: (run) => {
        record(run);
        measureRefresh(parts.metrics, run);
        measureRenewal(parts.metrics, run);
        reportLost({ logger: deps.logger, metrics: parts.metrics }, run);
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

  startFeeding(starting, parts, {
    concurrency,
    queuedForMs: timing.queuedForMs,
    watches: google.push !== undefined,
  });
}

function openWayToGoogle({ config, deps, started }: Starting, parts: Parts): OpenGoogle {
  const google = openGoogle(config, {
    broker: deps.wrapBroker?.(parts.budget.broker) ?? parts.budget.broker,
    store: parts.store,
    observers: [measureRequests(parts.metrics), parts.budget.usage],
    exchange: createRedisTokenExchange({
      redis: parts.budget.redis,
      clock: deps.clock,
    }),
    clock: deps.clock,
  });
  started.push({ name: "google", run: () => google.close() });
  if (google.push === undefined) {
    deps.logger.log(
      "info",
      "Calendars are polled: BALLAST_PUBLIC_URL is not set, so Google cannot notify",
    );
  }
  return google;
}

function createJobContext(
  starting: Starting,
  parts: {
    readonly store: Store;
    readonly google: OpenGoogle;
    readonly polls: PollPlans;
    readonly metrics: Metrics;
  },
): JobContext {
  const { config, options, deps } = starting;
  const { store, google, polls } = parts;
  const { source } = google;
  const { clock } = deps;
  const shared = {
    source,
    clock,
    random: Math.random,
    onAccountEffect: createReportAccount({
      ...store,
      metrics: parts.metrics,
      logger: deps.logger,
      clock,
    }),
  };
  const timing = { ...TIMING, ...options.timing, consumer: consumer(config.consumer) };
  const waiting = { storeHealth: store.health, clock };
  const { silenceGraceMs: graceMs } = pushTimingOf(starting);
  const onNews = createJudgeSilence(
    {
      graceMs,
      againAfterMs: SILENT_AGAIN_AFTER_MS,
      unprovenPollMs: unprovenIntervalMs({
        pollMs: config.pollIntervalMs,
        safetyMs: config.safetyPollMs,
      }),
    },
    { channels: store.channels, clock, random: shared.random },
  );
  return {
    refreshCalendar: whenStorable(
      createRefreshCalendar(
        { ...timing, jobDeadlineMs: 300_000 },
        { ...shared, refreshes: store.refreshes, onNews, planPoll: polls.planPoll },
      ),
      waiting,
    ),
    discoverCalendars: whenStorable(
      createDiscoverCalendars(
        { ...timing, intervalMs: polls.listsIntervalMs },
        { ...shared, accounts: store.accounts },
      ),
      waiting,
    ),
    renewChannel: createRenewal({ starting, store, google }, { ...shared, waiting }),
  };
}

/** Channels wait for the database as refreshes do (I13): what Google answers has to be stored. */
function createRenewal(
  of: { readonly starting: Starting; readonly store: Store; readonly google: OpenGoogle },
  shared: Omit<Parameters<typeof createRenewChannel>[1], "push" | "channels" | "calendars"> & {
    readonly waiting: Parameters<typeof whenStorable>[1];
  },
): RenewChannel {
  const { push } = of.google;
  // A job of another process' that has a public address; it comes back there.
  if (push === undefined) return () => Promise.resolve({ kind: "skipped", reason: "no-push" });
  const { channels, calendars } = of.store;
  const { silenceGraceMs: graceMs } = pushTimingOf(of.starting);
  const renew = createRenewChannel(
    {
      ...RENEWAL,
      graceMs,
      pollWithinMs: of.starting.config.pollIntervalMs,
      consumer: consumer(of.starting.config.consumer),
    },
    { ...shared, push, channels, calendars },
  );
  return (id, { claim, signal }) =>
    whenStorable(
      (calendarId: CalendarId, run) => renew(calendarId, { claim, signal: run.signal }),
      shared.waiting,
    )(id, { class: "poll", signal });
}
