import { Client } from "pg";
import { Redis } from "ioredis";
import { expect, onTestFinished } from "vitest";
import { test } from "../support/redis-test.ts";

test("a test gets an empty, working Redis of its own", async ({ redis }) => {
  expect(await redis.dbsize()).toBe(0);
  await redis.set("left-behind", "by the test before");
  expect(await redis.get("left-behind")).toBe("by the test before");
});

test("what an earlier test wrote to Redis is gone", async ({ redis }) => {
  expect(await redis.get("left-behind")).toBeNull();
});

test("a test file gets a Postgres database of its own", async ({ postgresUrl }) => {
  const client = new Client({ connectionString: postgresUrl });
  await client.connect();
  await client.query("create table kept (id int)");
  const tables = await client.query("select * from pg_tables where schemaname = 'public'");
  await client.end();
  expect(tables.rowCount).toBe(1);
});

test("the database is the same one throughout the file", async ({ postgresUrl }) => {
  const client = new Client({ connectionString: postgresUrl });
  await client.connect();
  const { rows } = await client.query<{ n: string }>("select count(*) as n from kept");
  await client.end();
  expect(rows).toEqual([{ n: "0" }]);
});

test.fails("a client left open fails the test that opened it", async ({ redisConnection }) => {
  const forgotten = new Redis({ ...redisConnection, maxRetriesPerRequest: null });
  onTestFinished(() => {
    forgotten.disconnect();
  });
  await forgotten.ping();
});
