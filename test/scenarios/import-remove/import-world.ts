import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createSimulator, type Simulator } from "../../../src/simulator/simulator.ts";
import { runBallast, type Ended } from "../../support/ballast-process.ts";
import { openScenarioHome, type ScenarioHome } from "../../support/scenario-home.ts";

/** One Google account and the tenant that it is imported for. */
export interface Person {
  readonly tenant: string;
  readonly name: string;
  readonly email: string;
  readonly refreshToken: string;
}

export interface ImportWorld {
  readonly simulator: Simulator;
  readonly home: ScenarioHome;
  readonly people: readonly Person[];
  /** A file of these people, a line each. */
  file(name: string, lines: readonly string[]): Promise<string>;
  ballast(args: readonly string[]): Promise<Ended>;
  /** A handle of its own on the database's file, as a repairman would open it. */
  onDatabase<Result>(work: (database: DatabaseSync) => Result): Result;
  close(): Promise<void>;
}

/** Tenants whose people have a second calendar with an event. */
export const WITH_MORE = 3;

/** A Google full of people, and a Ballast that knows none of them. */
export async function openImportWorld(options: {
  readonly accounts: number;
  readonly tenants: number;
  readonly settleMs: number;
  readonly seed: number;
}): Promise<ImportWorld> {
  const perTenant = options.accounts / options.tenants;
  // Every fifth calendar is shared with the next person: none across tenants.
  if (perTenant % 5 !== 0) throw new Error("A tenant's accounts should come in fives");
  const tenantOf = (index: number): string => `tenant-${String(Math.floor(index / perTenant))}`;
  const simulator = await createSimulator({
    seed: options.seed,
    keepRequests: 500_000,
    calendars: {
      accounts: options.accounts,
      // Beside everyone's own: of the first tenants, so that thousands of accounts do not take all day.
      calendars: Array.from(
        { length: Math.min(WITH_MORE, options.tenants) * perTenant },
        (_, index) => ({
          id: `${tenantOf(index)}-calendar-${String(index)}`,
          summary: `canary of ${tenantOf(index)}: calendar ${String(index)}`,
          timeZone: "UTC",
          events: [
            {
              summary: `canary of ${tenantOf(index)}: event ${String(index)}`,
              start: { dateTime: "2026-05-04T10:00:00Z" },
              end: { dateTime: "2026-05-04T11:00:00Z" },
            },
          ],
        }),
      ),
    },
  });
  const key = `k1:${randomBytes(32).toString("base64")}`;
  const home = await openScenarioHome(
    {
      google: { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
      unlimited: true,
      env: {
        BALLAST_ENCRYPTION_KEYS: key,
        BALLAST_POLL_SECONDS: "3600",
        BALLAST_WORKER_CONCURRENCY: "16",
      },
      removals: { settleMs: options.settleMs },
    },
    { onRunFinished: () => undefined },
  );
  const { database } = home.config;
  if (database.kind !== "sqlite") throw new Error("This scenario searches a file");
  const directory = dirname(database.path);
  return {
    simulator,
    home,
    people: simulator.accounts().map(({ email, refreshToken }, index) => ({
      tenant: tenantOf(index),
      name: `account-${String(index)}`,
      email,
      refreshToken,
    })),
    async file(name, lines) {
      const path = join(directory, name);
      await writeFile(path, `${lines.join("\n")}\n`);
      return path;
    },
    ballast: (args) =>
      runBallast(args, {
        BALLAST_DATA_DIR: home.config.dataDirectory,
        BALLAST_ENCRYPTION_KEYS: key,
        GOOGLE_CLIENT_ID: "scenario-client",
        GOOGLE_CLIENT_SECRET: "scenario-secret",
        GOOGLE_API_ROOT_URL: simulator.url,
        GOOGLE_OAUTH_TOKEN_URL: simulator.tokenUrl,
      }),
    onDatabase(work) {
      const handle = new DatabaseSync(database.path, { timeout: 10_000 });
      try {
        return work(handle);
      } finally {
        handle.close();
      }
    },
    async close() {
      await home.close();
      await simulator.close();
    },
  };
}

/** A line of the file. */
export function lineOf({ tenant, name, email, refreshToken }: Person): string {
  return JSON.stringify({ tenant, account: name, refreshToken, calendars: [email] });
}
