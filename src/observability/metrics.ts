import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";
import type { CalendarState } from "../core/calendar-store.ts";
import type { PushHealth, WatchReason } from "../core/channel-store.ts";
import type { FailureKind } from "../core/failure.ts";
import type { RefusalCode } from "../core/refusal.ts";
import { REQUEST_CLASSES, type Operation, type RequestClass } from "../core/request.ts";
import { createAccountMetrics, type AccountMetrics } from "./account-metrics.ts";
import { createChangeMetrics, type ChangeMetrics } from "./change-metrics.ts";
import { METRIC_NAMES } from "./metric-names.ts";

/** One request that left for Google, or that we refused to send. Labels are closed sets, never ids. */
export interface RequestObservation {
  readonly operation: Operation;
  readonly class: RequestClass;
  readonly attempt: "first" | "retry";
  readonly outcome: "succeeded" | "failed" | "refused";
  /** Why it failed or was refused. */
  readonly reason: FailureKind | RefusalCode | "none";
  /** Time at Google; undefined where nothing was sent. */
  readonly durationMs: number | undefined;
}

/** What became of a notification; the route's own closed set. */
export type NotificationOutcome =
  "marked" | "coalesced" | "not-kept" | "sync" | "unknown" | "forged" | "malformed";

/** The figures of this process, in Prometheus' form. Recording never throws and never waits. */
export interface Metrics extends AccountMetrics, ChangeMetrics {
  requestFinished(observation: RequestObservation): void;
  permitWaited(wait: {
    readonly class: RequestClass;
    readonly outcome: "granted" | "refused";
    readonly waitMs: number;
  }): void;
  refreshFinished(refresh: {
    readonly kind: "incremental" | "full" | "none";
    readonly outcome: "published" | "postponed" | "skipped" | "fenced-out" | "crashed";
    readonly durationMs: number;
    readonly eventsChanged: number;
  }): void;
  jobFinished(job: {
    readonly queue: string;
    readonly job: string;
    readonly outcome: string;
    readonly durationMs: number;
    readonly queueWaitMs: number;
  }): void;
  jobUnparseable(queue: string): void;
  /** A push channel was opened: the calendar's first, in time before the old one ends, or for one gone silent. */
  channelOpened(reason: WatchReason): void;
  /** What became of a notification that somebody sent us. */
  notificationReceived(outcome: NotificationOutcome): void;
  /** How calendars are watched, as last counted in the database. */
  setPushHealth(health: PushHealth): void;
  /** All calendars by state, as last counted in the database. */
  setCalendars(counts: Readonly<Partial<Record<CalendarState, number>>>): void;
  /** Calendars that are due and not yet refreshed, by class. */
  setBacklog(counts: Readonly<Partial<Record<RequestClass, number>>>): void;
  render(): Promise<string>;
  readonly contentType: string;
}

const CALENDAR_STATES = Object.keys({
  never: true,
  fresh: true,
  stale: true,
  slowed: true,
  lost: true,
  paused: true,
} satisfies Record<CalendarState, true>);

const GOOGLE_BUCKETS = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const WAIT_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60];
const JOB_BUCKETS = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300];

/** Figures of one process; `withProcess` adds memory, event-loop lag and the like, once per process. */
export function createMetrics(options: { readonly withProcess: boolean }): Metrics {
  const registry = new Registry();
  if (options.withProcess) collectDefaultMetrics({ register: registry });
  const jobs = createJobMetrics(registry);
  const google = createGoogleMetrics(registry);
  const gauges = createGauges(registry);
  const push = createPushMetrics(registry);
  return {
    ...google,
    ...jobs,
    ...gauges,
    ...push,
    ...createAccountMetrics(registry),
    ...createChangeMetrics(registry),
    render: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

function createGoogleMetrics(
  registry: Registry,
): Pick<Metrics, "requestFinished" | "permitWaited"> {
  const registers = [registry];
  const requests = new Counter({
    name: METRIC_NAMES.googleRequests,
    help: "Requests to Google, sent or refused by us, by who asked and what became of them.",
    labelNames: ["operation", "class", "attempt", "outcome", "reason"] as const,
    registers,
  });
  const duration = new Histogram({
    name: METRIC_NAMES.googleRequestDuration,
    help: "Time from a request's first byte to the end of its answer.",
    labelNames: ["operation", "outcome"] as const,
    buckets: GOOGLE_BUCKETS,
    registers,
  });
  const permitWait = new Histogram({
    name: METRIC_NAMES.permitWait,
    help: "Time a request waited for its permit, or for the refusal.",
    labelNames: ["class", "outcome"] as const,
    buckets: WAIT_BUCKETS,
    registers,
  });
  return {
    requestFinished: ({ durationMs, operation, outcome, ...rest }) => {
      requests.inc({ operation, outcome, ...rest });
      if (durationMs !== undefined) duration.observe({ operation, outcome }, durationMs / 1_000);
    },
    permitWaited: ({ waitMs, ...labels }) => {
      permitWait.observe(labels, waitMs / 1_000);
    },
  };
}

function createJobMetrics(
  registry: Registry,
): Pick<Metrics, "refreshFinished" | "jobFinished" | "jobUnparseable"> {
  const registers = [registry];
  const refreshes = new Counter({
    name: METRIC_NAMES.refreshes,
    help: "Refreshes of calendars by kind and outcome.",
    labelNames: ["kind", "outcome"] as const,
    registers,
  });
  const refreshDuration = new Histogram({
    name: METRIC_NAMES.refreshDuration,
    help: "Time one refresh of one calendar took.",
    labelNames: ["kind", "outcome"] as const,
    buckets: JOB_BUCKETS,
    registers,
  });
  const eventsChanged = new Counter({
    name: METRIC_NAMES.eventsChanged,
    help: "Events written or removed by publishes.",
    registers,
  });
  const jobs = new Counter({
    name: METRIC_NAMES.jobs,
    help: "Runs of jobs by outcome.",
    labelNames: ["queue", "job", "outcome"] as const,
    registers,
  });
  const jobDuration = new Histogram({
    name: METRIC_NAMES.jobDuration,
    help: "Time one run of a job took.",
    labelNames: ["queue", "job"] as const,
    buckets: JOB_BUCKETS,
    registers,
  });
  const queueWait = new Histogram({
    name: METRIC_NAMES.jobQueueWait,
    help: "Time a job waited in the queue.",
    labelNames: ["queue"] as const,
    buckets: WAIT_BUCKETS,
    registers,
  });
  const unparseable = new Counter({
    name: METRIC_NAMES.unparseableJobs,
    help: "Jobs set aside because their payload does not parse.",
    // Not by job: the name of such a job comes from outside and is no closed set.
    labelNames: ["queue"] as const,
    registers,
  });
  return {
    refreshFinished: ({ durationMs, eventsChanged: changed, ...labels }) => {
      refreshes.inc(labels);
      refreshDuration.observe(labels, durationMs / 1_000);
      eventsChanged.inc(changed);
    },
    jobFinished: ({ queue, job, outcome, durationMs, queueWaitMs }) => {
      jobs.inc({ queue, job, outcome });
      jobDuration.observe({ queue, job }, durationMs / 1_000);
      queueWait.observe({ queue }, queueWaitMs / 1_000);
    },
    jobUnparseable: (queue) => {
      unparseable.inc({ queue });
    },
  };
}

function createPushMetrics(
  registry: Registry,
): Pick<Metrics, "channelOpened" | "notificationReceived" | "setPushHealth"> {
  const opened = new Counter({
    name: METRIC_NAMES.channelsOpened,
    help: "Push channels opened, by why: first, expiring, silent (a poll found what the old one did not tell).",
    labelNames: ["reason"] as const,
    registers: [registry],
  });
  const notifications = new Counter({
    name: METRIC_NAMES.notifications,
    help: "Notifications received, by what became of them.",
    labelNames: ["outcome"] as const,
    registers: [registry],
  });
  const channels = new Gauge({
    name: METRIC_NAMES.channels,
    help: "Calendars watched, not watched and not watchable; channels opening, stopping, ending within a day, opened after a silence.",
    labelNames: ["state"] as const,
    registers: [registry],
  });
  return {
    channelOpened: (reason) => {
      opened.inc({ reason });
    },
    notificationReceived: (outcome) => {
      notifications.inc({ outcome });
    },
    setPushHealth: (health) => {
      for (const [state, count] of Object.entries<number>({ ...health })) {
        channels.set({ state }, count);
      }
    },
  };
}

function createGauges(registry: Registry): Pick<Metrics, "setCalendars" | "setBacklog"> {
  const calendars = new Gauge({
    name: METRIC_NAMES.calendars,
    help: "Calendars by state, as last counted in the database.",
    labelNames: ["state"] as const,
    registers: [registry],
  });
  const backlog = new Gauge({
    name: METRIC_NAMES.backlog,
    help: "Calendars that are due and not yet refreshed.",
    labelNames: ["class"] as const,
    registers: [registry],
  });
  // Every member of the set each time: one that is left out would keep its last value for ever.
  return {
    setCalendars: (counts) => {
      const byState = new Map(Object.entries(counts));
      for (const state of CALENDAR_STATES) calendars.set({ state }, byState.get(state) ?? 0);
    },
    setBacklog: (counts) => {
      for (const requestClass of REQUEST_CLASSES) {
        backlog.set({ class: requestClass }, counts[requestClass] ?? 0);
      }
    },
  };
}
