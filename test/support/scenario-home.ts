import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AppOptions, PushTiming, WorkTiming } from "../../src/app-parts.ts";
import { startApp, type App } from "../../src/app.ts";
import { loadConfig, type Config } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, tenantId } from "../../src/core/ids.ts";
import { obtainRedis } from "../../src/embedded/obtain-redis.ts";
import { startPrivateRedis, type PrivateRedis } from "../../src/embedded/redis-server.ts";
import { openAppStore } from "../../src/operator-app.ts";
import { createLogger } from "../../src/observability/logger.ts";
import type { StoreHealth } from "../../src/core/store-health.ts";
import type { FinishedRun } from "../../src/queue/run-worker.ts";
import type { Store } from "../../src/store/open-store.ts";

/** A Ballast of a scenario's own: private Redis, a database in a temporary directory, one process. */
export interface ScenarioHome {
  readonly app: App;
  readonly config: Config;
  readonly redis: PrivateRedis;
  /** A second handle on the database, as another process would have. */
  readonly store: Store;
  /** Drain the process and start another one on the same data. */
  restart(): Promise<void>;
  connect(tenant: string, account: string, refreshToken: string): Promise<void>;
  close(): Promise<void>;
}

/** Far above anything a scenario sends: for scenarios that are not about the budget. */
const UNLIMITED = {
  BALLAST_QUOTA_PROJECT_PER_MINUTE: "10000000",
  BALLAST_QUOTA_USER_PER_MINUTE: "10000000",
  BALLAST_QUOTA_PER_DAY: "1000000000",
};

export async function openScenarioHome(
  options: {
    readonly google: { readonly apiRootUrl: string; readonly tokenUrl: string };
    readonly unlimited: boolean;
    readonly env?: Readonly<Record<string, string>>;
    /** Shorter than the defaults, where work must be free to be taken over within the scenario. */
    readonly timing?: Partial<WorkTiming>;
    /** `worker` unless given. */
    readonly role?: AppOptions["role"];
    readonly push?: Partial<PushTiming>;
    readonly removals?: AppOptions["removals"];
  },
  deps: {
    readonly onRunFinished: (run: FinishedRun) => void;
    /** In place of the database's own word. */
    readonly storeHealth?: StoreHealth;
    /** Where log lines go; stderr unless given. */
    readonly writeLog?: (line: string) => void;
  },
): Promise<ScenarioHome> {
  const directory = await mkdtemp(join(tmpdir(), "ballast-scenario-"));
  const redis = await startPrivateRedis(
    { program: await obtainProgram(), persistent: false },
    { clock: systemClock },
  );
  const config = loadConfig({
    PATH: process.env["PATH"],
    BALLAST_DATA_DIR: directory,
    GOOGLE_CLIENT_ID: "scenario-client",
    GOOGLE_CLIENT_SECRET: "scenario-secret",
    GOOGLE_API_ROOT_URL: options.google.apiRootUrl,
    GOOGLE_OAUTH_TOKEN_URL: options.google.tokenUrl,
    BALLAST_LOG_LEVEL: process.env["BALLAST_LOG_LEVEL"] ?? "error",
    ...(options.unlimited ? UNLIMITED : {}),
    ...options.env,
  });
  const logger = createLogger(
    { level: config.logLevel, format: "text" },
    {
      write:
        deps.writeLog ??
        ((line) => {
          process.stderr.write(line);
        }),
    },
  );
  const start = (): Promise<App> =>
    startApp(
      config,
      {
        role: options.role ?? "worker",
        redis: redis.url,
        migrateWhenEmpty: true,
        ...(options.timing === undefined ? {} : { timing: options.timing }),
        ...(options.push === undefined ? {} : { push: options.push }),
        ...(options.removals === undefined ? {} : { removals: options.removals }),
      },
      { clock: systemClock, logger, ...deps },
    );
  let app = await start();
  const store = await openAppStore(config, { clock: systemClock });
  return {
    get app() {
      return app;
    },
    async restart() {
      await app.drain();
      app = await start();
    },
    config,
    redis,
    store,
    async connect(tenant, account, refreshToken) {
      await store.accounts.connect({
        projectId: projectId("default"),
        tenantId: tenantId(tenant),
        name: accountName(account),
        quotaUser: undefined,
        refreshToken,
        scopes: ["https://www.googleapis.com/auth/calendar.readonly"],
        now: systemClock.now(),
      });
    },
    async close() {
      await app.drain();
      await store.close();
      await redis.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function obtainProgram(): ReturnType<typeof obtainRedis> {
  return obtainRedis(
    { searchPath: process.env["PATH"] ?? "" },
    {
      say: (line) => {
        process.stderr.write(`${line}\n`);
      },
    },
  );
}
