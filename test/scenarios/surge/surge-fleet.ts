import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startGoogle, type Google } from "../../../bench/stacks/google.ts";
import { loadConfig } from "../../../src/config/config.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { accountName, projectId, tenantId } from "../../../src/core/ids.ts";
import { makeApiToken } from "../../../src/core/token-store.ts";
import { obtainRedis } from "../../../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../../../src/embedded/redis-server.ts";
import { runCommand } from "../../../src/embedded/run-command.ts";
import { openAppStore } from "../../../src/operator-app.ts";
import type { Store } from "../../../src/store/open-store.ts";
import { startBallast, type BallastProcess } from "../../support/ballast-process.ts";
import { freePort } from "../free-port.ts";

/** How large, and how long a notified calendar waits for more. */
export interface FleetPlan {
  readonly accounts: number;
  /** Besides each account's primary one. */
  readonly calendarsEach: number;
  readonly quietMs: number;
  readonly mostMs: number;
  /** Refresh requests a minute of a tenant's consumer; more are turned away. */
  readonly requestsPerMinute: number;
}

/** `ballast web`, `ballast worker`, Redis and Google, each in a process of its own; here only who looks at them. */
export interface Fleet {
  readonly google: Google;
  /** A handle on the database, as another process has one. */
  readonly store: Store;
  readonly port: number;
  readonly httpUrl: string;
  /** Memory of the web process, resident. */
  webMegabytes(): Promise<number>;
  connect(tenant: string, account: string, refreshToken: string): Promise<void>;
  /** A token of the tenant's, for refresh requests. */
  makeToken(tenant: string): Promise<string>;
  close(): Promise<void>;
}

/** Far above anything that is sent: the surge is not about the budget. */
const UNLIMITED = {
  BALLAST_QUOTA_PROJECT_PER_MINUTE: "10000000",
  BALLAST_QUOTA_USER_PER_MINUTE: "10000000",
  BALLAST_QUOTA_PER_DAY: "1000000000",
};
const MEGABYTE = 1_048_576;

export async function openFleet(
  seed: number,
  plan: FleetPlan,
  say: (line: string) => void,
): Promise<Fleet> {
  const closing: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const step of closing.splice(0).toReversed()) await step();
  };
  try {
    return { ...(await openParts({ seed, plan, say }, closing)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openParts(
  { seed, plan, say }: { seed: number; plan: FleetPlan; say: (line: string) => void },
  closing: (() => Promise<unknown>)[],
): Promise<Omit<Fleet, "close">> {
  const directory = await mkdtemp(join(tmpdir(), "ballast-surge-"));
  closing.push(() => rm(directory, { recursive: true, force: true }));
  const searchPath = process.env["PATH"] ?? "";
  const redis = await startPrivateRedis(
    { program: await obtainRedis({ searchPath }, { say }), persistent: false },
    { clock: systemClock },
  );
  closing.push(() => redis.stop());
  const google = await startGoogle({
    seed,
    generate: { accounts: plan.accounts, calendars: plan.calendarsEach, events: 4 },
  });
  closing.push(() => Promise.resolve(google.stop()));
  const port = await freePort();
  const env = environmentOf({ plan, port, directory, redis: redis.url, google });
  const config = loadConfig({ ...env, PATH: searchPath });
  const store = await openAppStore(config, { clock: systemClock }, { migrateWhenEmpty: true });
  closing.push(() => store.close());
  const processes = (["web", "worker"] as const).map((role) => {
    const one = startBallast([role, "--json"], env);
    closing.push(() => end(role, one, say));
    return one;
  });
  await Promise.all(processes.map((one) => one.document()));
  const [web] = processes;
  if (web === undefined) throw new Error("There is no web process");
  return {
    google,
    store,
    port,
    httpUrl: `http://127.0.0.1:${String(port)}`,
    webMegabytes: async () => (await residentBytes(web.pid)) / MEGABYTE,
    ...people(store),
  };
}

function environmentOf(of: {
  readonly plan: FleetPlan;
  readonly port: number;
  readonly directory: string;
  readonly redis: string;
  readonly google: Google;
}): Record<string, string> {
  const { plan, port, directory, redis, google } = of;
  return {
    ...UNLIMITED,
    BALLAST_DATA_DIR: directory,
    REDIS_URL: redis,
    GOOGLE_CLIENT_ID: "scenario-client",
    GOOGLE_CLIENT_SECRET: "scenario-secret",
    GOOGLE_API_ROOT_URL: google.url,
    GOOGLE_OAUTH_TOKEN_URL: google.tokenUrl,
    BALLAST_HTTP_PORT: String(port),
    BALLAST_PUBLIC_URL: `http://127.0.0.1:${String(port)}`,
    BALLAST_PUSH_QUIET_MS: String(plan.quietMs),
    BALLAST_PUSH_MOST_MS: String(plan.mostMs),
    BALLAST_HTTP_CONSUMER_PER_MINUTE: String(plan.requestsPerMinute),
    BALLAST_WORKER_CONCURRENCY: "20",
    BALLAST_LOG_LEVEL: "error",
    // Such as --cpu-prof, for who looks where the time goes.
    NODE_OPTIONS: process.env["NODE_OPTIONS"] ?? "",
  };
}

function people(store: Store): Pick<Fleet, "connect" | "makeToken"> {
  return {
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
    async makeToken(tenant) {
      const now = systemClock.now();
      const { id, token, sha256 } = makeApiToken(now);
      const made = { id, sha256, name: "booking-api", scopes: ["refresh"] };
      await store.tokens.create({ ...made, tenantId: tenantId(tenant) }, { actor: "surge", now });
      return token;
    },
  };
}

/** In order; what it said of errors is passed on. */
async function end(role: string, one: BallastProcess, say: (line: string) => void): Promise<void> {
  one.signal("SIGTERM");
  const { code, stderr } = await one.ended;
  if (code !== 0) say(`${role} ended with ${String(code)}: ${stderr}`);
}

async function residentBytes(pid: number): Promise<number> {
  if (process.platform !== "linux") {
    const kilobytes = await runCommand("ps", ["-o", "rss=", "-p", String(pid)], {
      timeoutMs: 5_000,
    });
    return Number(kilobytes.trim()) * 1_024;
  }
  const status = await readFile(`/proc/${String(pid)}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024;
}
