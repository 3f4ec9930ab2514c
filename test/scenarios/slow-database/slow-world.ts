import { join } from "node:path";
import type { WorkTiming } from "../../../src/app-parts.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { openAppStore } from "../../../src/operator-app.ts";
import type { FinishedRun } from "../../../src/queue/run-worker.ts";
import { createSimulator, type Simulator } from "../../../src/simulator/simulator.ts";
import type { Store } from "../../../src/store/open-store.ts";
import {
  runOnPostgres,
  startPostgresCluster,
  type PostgresCluster,
} from "../../support/postgres-cluster.ts";
import { openScenarioHome, type ScenarioHome } from "../../support/scenario-home.ts";
import { startTcpProxy, type TcpProxy } from "../../support/tcp-proxy.ts";
import { startRecorder, type RequestRecorder } from "./record-requests.ts";

/** A Ballast on a Postgres of its own that can be made slow and stopped, and a Google that is recorded. */
export interface SlowWorld {
  readonly simulator: Simulator;
  readonly recorder: RequestRecorder;
  readonly cluster: PostgresCluster;
  readonly proxy: TcpProxy;
  readonly home: ScenarioHome;
  /** The same database, not through the proxy: what other programs and the judge see. */
  readonly direct: Store;
  readonly runs: readonly SeenRun[];
  close(): Promise<void>;
}

/** A run that has ended, and when, by the clock that never steps. */
export interface SeenRun extends FinishedRun {
  readonly endedMs: number;
}

const DATABASE = "ballast";
const ACCOUNTS = 6;
/** With a few shared ones, about 70 copies. */
const CALENDARS_PER_ACCOUNT = 9;
const EVENTS_PER_CALENDAR = 30;
const ANSWER_MS = { minMs: 40, maxMs: 240 } as const;

/** Start everything. `isHealthIgnored` makes the control: whatever the database is like, work goes on. */
export async function openSlowWorld(options: {
  readonly seed: number;
  readonly pollSeconds: number;
  readonly isHealthIgnored: boolean;
  readonly timing: Partial<WorkTiming>;
}): Promise<SlowWorld> {
  const closing: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const step of closing.splice(0).toReversed()) await step();
  };
  try {
    const cluster = await startPostgresCluster();
    closing.push(() => cluster.stop());
    await runOnPostgres(cluster.url("postgres"), `create database ${DATABASE}`);
    const url = new URL(cluster.url(DATABASE));
    const proxy = await startTcpProxy({ path: socketOf(url) });
    closing.push(() => proxy.close());

    const simulator = await createSimulator({
      seed: options.seed,
      generate: {
        accounts: ACCOUNTS,
        calendars: CALENDARS_PER_ACCOUNT,
        events: EVENTS_PER_CALENDAR,
      },
      faults: {
        faults: [
          {
            match: { operation: "events.list" },
            answer: { kind: "latency", latency: { distribution: "uniform", ...ANSWER_MS } },
          },
        ],
      },
    });
    closing.push(() => simulator.close());
    const recorder = await startRecorder(simulator.url);
    closing.push(() => recorder.close());

    const runs: SeenRun[] = [];
    const home = await openScenarioHome(
      {
        google: { apiRootUrl: recorder.url, tokenUrl: `${recorder.url}token` },
        unlimited: true,
        timing: options.timing,
        env: {
          DATABASE_URL: `postgres://${url.username}@127.0.0.1:${String(proxy.port)}/${DATABASE}`,
          BALLAST_POLL_SECONDS: String(options.pollSeconds),
        },
      },
      {
        onRunFinished: (run) => {
          runs.push({ ...run, endedMs: performance.now() });
        },
        ...(options.isHealthIgnored ? { storeHealth: { canStore: () => true } } : {}),
      },
    );
    closing.push(() => home.close());
    const direct = await openAppStore(
      { ...home.config, database: { kind: "postgres", url: cluster.url(DATABASE) } },
      { clock: systemClock },
    );
    closing.push(() => direct.close());
    return { simulator, recorder, cluster, proxy, home, direct, runs, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Postgres' own name for its socket. */
function socketOf(url: URL): string {
  const directory = url.searchParams.get("host") ?? "/";
  return join(directory, `.s.PGSQL.${url.port === "" ? "5432" : url.port}`);
}
