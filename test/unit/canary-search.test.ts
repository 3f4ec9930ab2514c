import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { bytesUnder, canary, createCanarySearch, dumpRedis } from "../support/canary-search.ts";
import { test } from "../support/redis-test.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const SECRET = canary("secret", "canary-9f2");

test("a canary is found, and a place where what must be there was not seen is told", () => {
  const search = createCanarySearch([SECRET, { name: "raw", bytes: Buffer.from([1, 2, 3, 4]) }]);
  search.look("clean", "all is well", "well");
  search.look("leaky", 'a "canary-9f2" here', "here");
  search.look("binary", Buffer.from([9, 1, 2, 3, 4]), "\t");
  search.look("unread", "", "anything");
  search.look("read later", "");
  search.look("read later", "anything", "anything");
  expect(search.found()).toEqual(["secret in leaky", "raw in binary"]);
  expect(search.blind()).toEqual(["unread"]);
  expect(search.places()).toHaveLength(5);
});

test("a canary is found in a key's name and in a value of every type", async ({ redis }) => {
  const plant: Readonly<Record<string, () => Promise<unknown>>> = {
    name: () => redis.set("canary-9f2", "x"),
    string: () => redis.set("k", `x${"y".repeat(500)}canary-9f2`),
    hash: () => redis.hset("k", "field", "canary-9f2"),
    "hash field": () => redis.hset("k", "canary-9f2", "x"),
    list: () => redis.rpush("k", "canary-9f2"),
    set: () => redis.sadd("k", "canary-9f2"),
    zset: () => redis.zadd("k", 1, "canary-9f2"),
    stream: () => redis.xadd("k", "*", "field", "canary-9f2"),
  };
  for (const [place, write] of Object.entries(plant)) {
    await redis.flushdb();
    await write();
    const search = createCanarySearch([SECRET]);
    search.look(place, await dumpRedis(redis));
    expect(search.found()).toEqual([`secret in ${place}`]);
  }
});

test("a canary is found in files, however deep", async () => {
  const directory = await temporaryDirectory();
  await mkdir(join(directory, "a", "b"), { recursive: true });
  await writeFile(join(directory, "a", "b", "c.bin"), Buffer.from("\0\0canary-9f2\0"));
  const search = createCanarySearch([SECRET]);
  for (const [name, bytes] of await bytesUnder(directory)) search.look(name, bytes);
  expect(search.found()).toEqual([`secret in ${join("a", "b", "c.bin")}`]);
});
