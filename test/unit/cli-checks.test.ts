import { expect, test } from "vitest";
import type { KeyUsage } from "../../src/core/key-rotation.ts";
import { runChecks, type CheckPorts } from "../../src/operate/checks.ts";
import { systemClock } from "../../src/core/clock.ts";
import { createManualClock } from "../support/manual-clock.ts";

const healthy: CheckPorts = {
  nodeVersion: "v24.11.0",
  configuration: { kind: "usable", warnings: [] },
  readSchema: () => Promise.resolve({ version: 1, supported: { from: 1, to: 1 } }),
  readRedis: () => Promise.resolve({ version: "7.0.15", evictionPolicy: "noeviction" }),
  askTokenEndpoint: () => Promise.resolve({ status: 404, skewMs: 300 }),
  tryDataDirectory: () => Promise.resolve("/data can be written"),
  readKeys: () => Promise.resolve({ current: "k2", configured: ["k2"], usage: [] }),
};

const keysOf = (usage: KeyUsage): ReturnType<CheckPorts["readKeys"]> =>
  Promise.resolve({ current: "k2", configured: ["k2", "k1"], usage: [usage] });

async function outcomes(ports: Partial<CheckPorts>): Promise<Record<string, string>> {
  const results = await runChecks(
    { ...healthy, ...ports },
    { clock: systemClock, signal: new AbortController().signal },
  );
  const odd = results.filter((result) => result.outcome !== "ok");
  // Whatever is not as it should be says what to do about it.
  expect(odd.filter(({ next }) => next === "")).toEqual([]);
  return Object.fromEntries(odd.map(({ name, outcome }) => [name, outcome]));
}

test("a healthy installation passes every check", async () => {
  expect(await outcomes({})).toEqual({});
});

test.each<[string, Partial<CheckPorts>, Record<string, string>]>([
  ["an old Node", { nodeVersion: "v20.19.0" }, { node: "fail" }],
  ["Node 24 before 24.11", { nodeVersion: "v24.10.9" }, { node: "fail" }],
  ["Node 25", { nodeVersion: "v25.1.0" }, { node: "fail" }],
  ["Node 26", { nodeVersion: "v26.0.0" }, {}],
  [
    "a schema of a later release",
    { readSchema: () => Promise.resolve({ version: 3, supported: { from: 1, to: 2 } }) },
    { database: "fail" },
  ],
  [
    "a schema that was not migrated",
    { readSchema: () => Promise.resolve({ version: 0, supported: { from: 1, to: 2 } }) },
    { database: "fail" },
  ],
  ["no database yet", { readSchema: () => Promise.resolve("absent") }, { database: "warn" }],
  [
    "a database that refuses",
    { readSchema: () => Promise.reject(new Error("refused")) },
    { database: "fail" },
  ],
  [
    "an encryption key that is gone and still needed",
    { readKeys: () => keysOf({ keyId: "k1", secrets: 3, isKnown: false }) },
    { "encryption keys": "fail" },
  ],
  [
    "an older encryption key that is still in use",
    { readKeys: () => keysOf({ keyId: "k1", secrets: 3, isKnown: true }) },
    { "encryption keys": "warn" },
  ],
  [
    "an older encryption key that seals nothing any more",
    { readKeys: () => keysOf({ keyId: "k2", secrets: 3, isKnown: true }) },
    {},
  ],
  [
    "a Redis that evicts",
    { readRedis: () => Promise.resolve({ version: "7.0.15", evictionPolicy: "allkeys-lru" }) },
    { redis: "fail" },
  ],
  [
    "an old Redis",
    { readRedis: () => Promise.resolve({ version: "6.0.16", evictionPolicy: "noeviction" }) },
    { redis: "fail" },
  ],
  ["no Redis named", { readRedis: () => Promise.resolve("none") }, {}],
  [
    "a token endpoint in trouble",
    { askTokenEndpoint: () => Promise.resolve({ status: 503, skewMs: 0 }) },
    { "token endpoint": "warn" },
  ],
  [
    "a clock some seconds off",
    { askTokenEndpoint: () => Promise.resolve({ status: 404, skewMs: -9_000 }) },
    { clock: "warn" },
  ],
  [
    "a clock minutes off",
    { askTokenEndpoint: () => Promise.resolve({ status: 404, skewMs: 300_000 }) },
    { clock: "fail" },
  ],
  [
    "a token endpoint that cannot be reached",
    { askTokenEndpoint: () => Promise.reject(new Error("getaddrinfo ENOTFOUND")) },
    { "token endpoint": "fail", clock: "warn" },
  ],
])("%s is seen", async (_case, ports, expected) => {
  expect(await outcomes(ports)).toEqual(expected);
});

test("an unusable configuration is told, and nothing that it should have named is asked", async () => {
  const results = await runChecks(
    {
      ...healthy,
      configuration: { kind: "unusable", problems: ["A should be b", "C should be d"] },
    },
    { clock: systemClock, signal: new AbortController().signal },
  );
  expect(results.map(({ name, outcome }) => `${name}: ${outcome}`)).toEqual([
    "node: ok",
    "configuration: fail",
  ]);
  expect(results[1]?.detail).toBe("A should be b; C should be d");
});

test("a dependency that never answers fails its own check after five seconds, and no other", async () => {
  const clock = createManualClock();
  let isHungUp = false;
  const never = (signal: AbortSignal): Promise<never> => {
    signal.addEventListener("abort", () => {
      isHungUp = true;
    });
    return Promise.withResolvers<never>().promise;
  };
  const running = runChecks(
    { ...healthy, readRedis: never },
    { clock, signal: new AbortController().signal },
  );
  await clock.advance(5_000);
  const results = await running;
  const failed = results.filter(({ outcome }) => outcome === "fail");
  expect(failed).toMatchObject([{ name: "redis", detail: "no answer within 5 s" }]);
  expect(isHungUp).toBe(true);
});
