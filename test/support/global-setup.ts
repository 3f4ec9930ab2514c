import type { TestProject } from "vitest/node";
import { systemClock } from "../../src/core/clock.ts";
import { obtainRedis } from "../../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { startPostgresCluster } from "./postgres-cluster.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** The run's own Redis; one database per worker (redis-test.ts). */
    redisSocket: string;
    /** The run's own Postgres, its maintenance database; tests create databases of their own. */
    postgresUrl: string;
  }
}

/** Start one Redis and one Postgres for the whole run; a machine that cannot fails the run. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const program = await obtainRedis(
    { searchPath: process.env["PATH"] ?? "" },
    {
      say: (line) => {
        process.stderr.write(`${line}\n`);
      },
    },
  );
  const [redis, postgres] = await Promise.all([
    startPrivateRedis({ program, persistent: false, databases: 64 }, { clock: systemClock }),
    startPostgresCluster(),
  ]);
  project.provide("redisSocket", redis.socketPath);
  project.provide("postgresUrl", postgres.url("postgres"));
  return async () => {
    await Promise.all([redis.stop(), postgres.stop()]);
  };
}
