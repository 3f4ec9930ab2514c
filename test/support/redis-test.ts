import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { test as base, inject, vi } from "vitest";
import { runOnPostgres } from "./postgres-cluster.ts";

/** Where a test's Redis is, in the form that ioredis and BullMQ take. */
export interface RedisConnection {
  readonly path: string;
  readonly db: number;
}

interface Fixtures {
  /** Address of an empty database on the run's Redis, this worker's alone. A client left open fails the test. */
  readonly redisConnection: RedisConnection;
  /** A client on that database, closed after the test. */
  readonly redis: Redis;
  /** Connection string of a fresh Postgres database, one per test file, dropped afterwards. */
  readonly postgresUrl: string;
}

const LEAK_GRACE_MS = 30_000;

/** `test` with a real Redis and a real Postgres; each starts empty, and nothing may be left open. */
export const test = base.extend<Fixtures>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads a fixture's dependencies from this pattern
  redisConnection: async ({}, use) => {
    const connection = {
      path: inject("redisSocket"),
      db: Number(process.env["VITEST_POOL_ID"] ?? "1"),
    };
    const observer = new Redis({ path: connection.path, db: 0, maxRetriesPerRequest: null });
    await emptyDatabase(connection);
    const before = await countClients(observer, connection.db);
    await use(connection);
    try {
      // The server notices a closed socket a moment later.
      await vi.waitFor(
        async () => {
          const open = await countClients(observer, connection.db);
          if (open > before)
            throw new Error(`This test left ${String(open - before)} Redis clients open`);
        },
        { timeout: LEAK_GRACE_MS, interval: 20 },
      );
    } finally {
      await observer.quit();
    }
  },
  redis: async ({ redisConnection }, use) => {
    const redis = new Redis({ ...redisConnection, maxRetriesPerRequest: null });
    await use(redis);
    await redis.quit();
  },
  postgresUrl: [
    // oxlint-disable-next-line no-empty-pattern -- vitest reads a fixture's dependencies from this pattern
    async ({}, use) => {
      const maintenance = inject("postgresUrl");
      const name = `test_${randomBytes(6).toString("hex")}`;
      await runOnPostgres(maintenance, `create database ${name}`);
      await use(maintenance.replace("/postgres?", `/${name}?`));
      await runOnPostgres(maintenance, `drop database ${name} with (force)`);
    },
    { scope: "file" },
  ],
});

async function emptyDatabase(connection: RedisConnection): Promise<void> {
  const redis = new Redis({ ...connection, maxRetriesPerRequest: null });
  await redis.flushdb();
  await redis.quit();
}

async function countClients(observer: Redis, db: number): Promise<number> {
  const list = await observer.call("CLIENT", "LIST");
  return String(list)
    .split("\n")
    .filter((line) => line.includes(` db=${String(db)} `)).length;
}
