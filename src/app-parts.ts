import type { Config } from "./config/config.ts";
import type { Clock } from "./core/clock.ts";
import type { DrainStep } from "./core/drain.ts";
import type { EventStore } from "./core/event-store.ts";
import { projectId } from "./core/ids.ts";
import type { StoreHealth } from "./core/store-health.ts";
import type { Logger } from "./observability/logger.ts";
import type { Metrics } from "./observability/metrics.ts";
import type { FinishedRun } from "./queue/run-worker.ts";
import type { WorkQueue } from "./queue/work-queue.ts";
import type { PermitBroker } from "./quota/permit.ts";
import type { RecordedBudget } from "./start-budget.ts";
import type { Store } from "./store/open-store.ts";

/** There is one project for now; schema, keys and code know several. */
export const PROJECT = projectId("default");

const SILENCE_GRACE_MS = 120_000;

const SAME_TROUBLE_MS = 60_000;

/** What a process is to be. */
export interface AppOptions {
  /** `worker` syncs, `web` answers HTTP, `all` does both. */
  readonly role: "all" | "worker" | "web";
  /** A redis:// or rediss:// URL, or the absolute path of a socket. */
  readonly redis: string;
  /** Make the schema of an empty embedded database: for `start` and for tests. */
  readonly migrateWhenEmpty?: boolean;
  /** Shorter than the defaults in tests that kill workers and wait for their work to be taken over. */
  readonly timing?: Partial<WorkTiming>;
  readonly push?: Partial<PushTiming>;
  /** How removals take their time; other values than the defaults in tests that wait for one. */
  readonly removals?: { readonly settleMs?: number; readonly releaseWithinMs?: number };
}

/** How long a worker's claims on work outlive it when it dies. */
export interface WorkTiming {
  /** Longer than a page may take, or its holder is fenced out at work. */
  readonly leaseMs: number;
  readonly pageDeadlineMs: number;
  readonly queuedForMs: number;
  readonly jobLockMs: number;
}

/** How push behaves; other values than the defaults in tests that wait for it. */
export interface PushTiming {
  /** A notified calendar is refreshed so long after its last notification … */
  readonly quietMs: number;
  /** … and no later than so long after its first. */
  readonly mostMs: number;
  /** A change that a poll finds, so old and told by nobody, means that the channel is dead. */
  readonly silenceGraceMs: number;
}

export interface AppDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told of every finished job, after its line was written. */
  readonly onRunFinished?: (run: FinishedRun) => void;
  /** Whether to fetch, in place of the database's own word: for experiments that show what that is good for. */
  readonly storeHealth?: StoreHealth;
  /** Stands between the guard and the budget: for experiments that show what the breaker and the retry mark are good for. */
  readonly wrapBroker?: (broker: PermitBroker) => PermitBroker;
  /** Stands between readers and the published copies: for experiments that count what is read. */
  readonly wrapEvents?: (events: EventStore) => EventStore;
}

/** How push behaves in this process. */
export function pushTimingOf({
  config,
  options,
}: Pick<Starting, "config" | "options">): PushTiming {
  return { ...config.push, silenceGraceMs: SILENCE_GRACE_MS, ...options.push };
}

/** What every part is started with; each adds the step that stops it, so that the last started stops first. */
export interface Starting {
  readonly config: Config;
  readonly options: AppOptions;
  readonly deps: AppDeps;
  readonly started: DrainStep[];
}

/** The parts that others are built on. */
export interface Parts {
  readonly store: Store;
  readonly budget: RecordedBudget;
  readonly metrics: Metrics;
  readonly queue: WorkQueue;
}

/** One line when a trouble begins, and not one for every try to get past it. */
export function tellTrouble({ logger, clock }: AppDeps, message: string): (error: unknown) => void {
  let last = { text: "", atMs: 0 };
  return (error) => {
    const text = error instanceof Error ? error.message : String(error);
    const nowMs = clock.monotonicMs();
    const isNews = text !== last.text || nowMs - last.atMs > SAME_TROUBLE_MS;
    last = { text, atMs: nowMs };
    if (isNews) logger.log("warn", message, { error });
  };
}
