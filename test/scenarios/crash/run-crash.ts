import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import { obtainRedis } from "../../../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../../../src/embedded/redis-server.ts";
import { startPostgresCluster } from "../../support/postgres-cluster.ts";
import { createBounds, type Scenario } from "../scenario.ts";
import { killWorkers, type CrashFigures } from "./kill-workers.ts";

const KILLS = { full: 52, short: 10 };

/** Kill workers on SQLite, then on Postgres; nothing may be lost, and the kills must have hit something. */
export const runCrash: Scenario = async (options) => {
  const kills = options.short ? KILLS.short : KILLS.full;
  const directory = await mkdtemp(join(tmpdir(), "ballast-crash-"));
  const program = await obtainRedis({ searchPath: process.env["PATH"] ?? "" }, options);
  const postgres = await startPostgresCluster();
  const runs: CrashFigures[] = [];
  try {
    const urls = [`sqlite:${join(directory, "ballast.db")}`, postgres.url("postgres")];
    for (const databaseUrl of urls) {
      const redis = await startPrivateRedis({ program, persistent: false }, { clock: systemClock });
      try {
        const run = await killWorkers({ ...options, kills, databaseUrl, redis: redis.url });
        runs.push(run);
        options.say(JSON.stringify(run));
      } finally {
        await redis.stop();
      }
    }
  } finally {
    await postgres.stop();
    await rm(directory, { recursive: true, force: true });
  }
  const figures = { database: runs.map(({ database }) => database).join("+"), ...addUp(runs) };
  const bounds = createBounds();
  bounds.atLeast("kills", figures.kills, 2 * kills);
  bounds.atLeast("inTransaction + inListing", figures.inTransaction + figures.inListing, 1);
  if (!options.short) {
    bounds.atLeast("inTransaction", figures.inTransaction, 1);
    bounds.atLeast("inListing", figures.inListing, 1);
    bounds.atLeast("flushes", figures.flushes, 1);
  }
  bounds.atMost("differences", figures.differences, 0);
  bounds.atMost("lost", figures.lost, 0);
  return { figures, missed: bounds.missed };
};

function addUp(runs: readonly CrashFigures[]): Omit<CrashFigures, "database"> {
  const total = (name: keyof Omit<CrashFigures, "database">): number =>
    runs.reduce((sum, run) => sum + run[name], 0);
  return {
    kills: total("kills"),
    inTransaction: total("inTransaction"),
    inListing: total("inListing"),
    flushes: total("flushes"),
    changes: total("changes"),
    requests: total("requests"),
    differences: total("differences"),
    lost: total("lost"),
    seconds: total("seconds"),
  };
}
