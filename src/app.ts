/**
 * The composition root: builds every part of a process, starts it, drains it, stops it.
 *
 * States: starting → running → draining (once) → stopped. What was started before a failing step is
 * stopped again before the failure is thrown.
 */
import { PROJECT, tellTrouble, type AppDeps, type AppOptions, type Starting } from "./app-parts.ts";
import type { Config } from "./config/config.ts";
import { runDrain, type DrainedStep, type DrainStep } from "./core/drain.ts";
import { createMetrics } from "./observability/metrics.ts";
import { openAppStore } from "./operator-app.ts";
import { createStatus, type Status } from "./operate/status.ts";
import { openWorkQueue } from "./queue/work-queue.ts";
import { readQuotaStatus } from "./quota/quota-status.ts";
import { startBudget } from "./start-budget.ts";
import { startHttp } from "./start-http.ts";
import { startWorker } from "./start-worker.ts";

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

async function startParts(starting: Starting): Promise<Omit<App, "drain">> {
  const { config, options, deps, started } = starting;
  const opened = await openAppStore(config, deps, {
    migrateWhenEmpty: options.migrateWhenEmpty ?? false,
  });
  started.push({ name: "database", run: () => opened.close() });
  const store = {
    ...opened,
    health: deps.storeHealth ?? opened.health,
    events: deps.wrapEvents?.(opened.events) ?? opened.events,
  };

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
    channels: store.channels,
    usage: store.usage,
    deadGrants: store.deadGrants,
    projectTroubles: store.projectTroubles,
    readQuota: () => readQuotaStatus(budget.ledger, deps.clock),
    clock: deps.clock,
  });
  if (options.role !== "web") startWorker(starting, { store, budget, metrics, queue });
  const httpUrl =
    options.role === "worker"
      ? undefined
      : await startHttp(starting, { store, budget, metrics, status, queue });
  return { httpUrl, status };
}
