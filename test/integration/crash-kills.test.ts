import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { obtainRedis } from "../../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { freshPostgresDatabase } from "../conformance/fresh-postgres.ts";
import { killWorkers } from "../scenarios/crash/kill-workers.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DATABASES = {
  SQLite: async () => `sqlite:${join(await temporaryDirectory(), "ballast.db")}`,
  Postgres: freshPostgresDatabase,
};

const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

/** A Redis that may be emptied without asking the other tests. */
async function ownRedis(): Promise<string> {
  const program = await obtainRedis({ searchPath: process.env["PATH"] ?? "" }, { say });
  const redis = await startPrivateRedis({ program, persistent: false }, { clock: systemClock });
  onTestFinished(() => redis.stop());
  return redis.url;
}

test.for(Object.entries(DATABASES))(
  "I4, I6, I9: ten workers killed at random moments and a Redis that forgets cost nothing on %s",
  { timeout: 600_000 },
  async ([, open]) => {
    const figures = await killWorkers({
      databaseUrl: await open(),
      redis: await ownRedis(),
      kills: 10,
      seed: Date.now() % 1_000_000,
      say,
    });
    expect(figures).toMatchObject({ differences: 0, lost: 0 });
    expect(figures.kills).toBeGreaterThanOrEqual(10);
    expect(figures.inTransaction + figures.inListing).toBeGreaterThan(0);
  },
);
