import { afterEach, beforeEach, expect, test } from "vitest";
import type { FaultScript } from "../../src/simulator/fault-script.ts";
import { createSimulator } from "../../src/simulator/simulator.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import { createManualClock } from "../support/manual-clock.ts";
import { connectClient, control, requestToken } from "../support/simulator-client.ts";
import type { SimulatorClient } from "../support/simulator-client.ts";

const clock = createManualClock();
let simulator: Simulator;
let client: SimulatorClient;

beforeEach(async () => {
  simulator = await createSimulator(
    {
      seed: "faults",
      generate: { accounts: 2, calendars: 1, events: 3 },
      accessTokenLifetimeSeconds: 1e9,
    },
    { clock },
  );
  client = await connectClient(simulator);
});
afterEach(async () => {
  await simulator.close();
});

function install(...faults: FaultScript["faults"]): Promise<unknown> {
  return control(simulator, "POST faults", { faults });
}

test("an error has the status, reason, words and Retry-After of the script", async () => {
  await install({
    match: { operation: "events.list", times: 1 },
    answer: {
      kind: "error",
      status: 503,
      reason: "backendError",
      message: "Try later",
      retryAfterSeconds: 7,
    },
  });
  const answer = await client.list("primary");
  expect(answer.status).toBe(503);
  expect(answer.headers.get("retry-after")).toBe("7");
  expect(answer.body.error).toMatchObject({
    code: 503,
    message: "Try later",
    errors: [{ reason: "backendError" }],
  });
  expect((await client.list("primary")).status).toBe(200);
});

test("faults can be gateway HTML, an empty 200, truncated, malformed, or without a sync token", async () => {
  await install({ match: { times: 1 }, answer: { kind: "html" } });
  const html = await client.list("primary");
  expect([html.status, html.headers.get("content-type")]).toEqual([
    502,
    "text/html; charset=UTF-8",
  ]);
  await install({ match: { times: 1 }, answer: { kind: "empty", status: 200 } });
  expect((await client.list("primary")).text).toBe("");
  await install({ match: { times: 1 }, answer: { kind: "truncated" } });
  await expect(client.list("primary")).rejects.toThrow(/terminated|fetch failed|other side/);
  await install({ match: { times: 1 }, answer: { kind: "malformed" } });
  const malformed = await client.list("primary");
  expect(malformed.status).toBe(200);
  expect(() => JSON.parse(malformed.text) as unknown).toThrow(SyntaxError);
  await install({ match: { times: 1 }, answer: { kind: "no-sync-token" } });
  const tokenless = await client.list("primary");
  expect(tokenless.body.items).toBeDefined();
  expect(tokenless.body.nextSyncToken).toBeUndefined();
  expect((await client.list("primary")).body.nextSyncToken).toBeDefined();
});

test("a connection can be reset, or hang", async () => {
  await install({ match: { times: 1 }, answer: { kind: "reset" } });
  await expect(client.list("primary")).rejects.toThrow("fetch failed");
  await install({ match: { times: 1 }, answer: { kind: "hang" } });
  const waiting = AbortSignal.timeout(100);
  await expect(client.send("calendars/primary/events", { signal: waiting })).rejects.toThrow(
    /timeout/,
  );
  expect(simulator.counters().byOutcome).toMatchObject({ injected: 2 });
});

test("delays follow their distribution and add to whatever comes after", async () => {
  await install(
    { answer: { kind: "latency", latency: { distribution: "fixed", ms: 60 } } },
    {
      answer: {
        kind: "latency",
        latency: { distribution: "lognormal", medianMs: 10, sigma: 1, maxMs: 20 },
      },
    },
    { match: { times: 1 }, answer: { kind: "html" } },
  );
  const startedMs = performance.now();
  expect((await client.list("primary")).status).toBe(502);
  expect(performance.now() - startedMs).toBeGreaterThan(55);
  expect((await client.list("primary")).status).toBe(200);
});

test("a client that gives up while its answer is delayed is logged as aborted, once", async () => {
  await install({
    match: { operation: "events.list" },
    answer: { kind: "latency", latency: { distribution: "fixed", ms: 60_000 } },
  });
  const signal = AbortSignal.timeout(50);
  await expect(client.send("calendars/primary/events", { signal })).rejects.toThrow(/timeout/);
  await expect.poll(() => simulator.counters().byOutcome["aborted"]).toBe(1);
  expect(simulator.log.after(0, 10).at(-1)).toMatchObject({ status: 0, reason: "latency" });
});

test("an outage has a beginning and an end, and can come again", async () => {
  await install({
    match: { fromMs: 1000, toMs: 2000, everyMs: 10_000 },
    answer: { kind: "error", status: 503, reason: "backendError" },
  });
  const statuses: number[] = [];
  for (const step of [0, 1000, 999, 1, 9500]) {
    await clock.advance(step);
    statuses.push((await client.list("primary")).status);
  }
  expect(statuses).toEqual([200, 503, 503, 200, 503]);
});

test("faults strike by operation, account, calendar and probability", async () => {
  const other = await connectClient(simulator, 1);
  await install({
    match: {
      operation: ["events.*"],
      account: other.account.email,
      calendar: other.account.email,
    },
    answer: { kind: "html" },
  });
  expect((await other.list("primary")).status).toBe(502);
  expect((await other.list(other.account.email)).status).toBe(502);
  expect((await other.send("users/me/calendarList")).status).toBe(200);
  expect((await client.list("primary")).status).toBe(200);

  await install({ match: { probability: 0.3 }, answer: { kind: "html" } });
  let struck = 0;
  for (let request = 0; request < 200; request++) {
    if ((await client.list("primary", { maxResults: "1" })).status === 502) struck += 1;
  }
  expect(struck).toBeGreaterThan(35);
  expect(struck).toBeLessThan(85);
});

test("a hidden limit throttles below the published one, per quota user", async () => {
  const other = await connectClient(simulator, 1);
  await install({
    match: { operation: "events.list" },
    answer: { kind: "limit", scope: "quota-user", perWindow: 2, windowSeconds: 10 },
  });
  const statuses: number[] = [];
  for (let request = 0; request < 3; request++)
    statuses.push((await client.list("primary")).status);
  expect(statuses).toEqual([200, 200, 403]);
  expect((await other.list("primary")).status).toBe(200);
  const refused = await client.list("primary");
  expect(refused.body.error?.message).toContain("'Queries per minute per user'");
  await clock.advance(10_000);
  expect((await client.list("primary")).status).toBe(200);
  // Injected refusals are told apart from those of the simulator's own limits.
  expect(simulator.counters().rejectedByLimit).toEqual({});
  expect(simulator.counters().byOutcome).toMatchObject({ injected: 2 });
});

test("quota refusals can be injected for every scope", async () => {
  const reasons: unknown[] = [];
  for (const scope of ["project", "quota-user", "day", "writes"] as const) {
    await install({ answer: { kind: "quota", scope } });
    const { error } = (await client.list("primary")).body;
    reasons.push([error?.errors[0]?.reason, error?.message.slice(0, 40)]);
  }
  expect(reasons).toEqual([
    ["rateLimitExceeded", "Quota exceeded for quota metric 'Queries"],
    ["rateLimitExceeded", "Quota exceeded for quota metric 'Queries"],
    ["dailyLimitExceeded", "Daily Limit Exceeded. The quota will be "],
    ["quotaExceeded", "Calendar usage limits exceeded."],
  ]);
});

test("the token endpoint has faults of its own", async () => {
  const { refreshToken } = client.account;
  await install({
    match: { operation: "oauth.token", times: 1 },
    answer: { kind: "error", status: 503, reason: "backend_error" },
  });
  const failed = await requestToken(simulator, { refresh_token: refreshToken });
  expect(failed.status).toBe(503);
  expect(await failed.json()).toMatchObject({ error: "backend_error" });
  expect((await requestToken(simulator, { refresh_token: refreshToken })).status).toBe(200);
});

test("a script that is none is refused with its reasons, and the old one stays", async () => {
  await install({ answer: { kind: "html" } });
  const { error } = await control<{ error: string }>(simulator, "POST faults", {
    faults: [{ match: { probability: 2 }, answer: { kind: "explode" } }],
  });
  expect(error).toContain("faults[0].match.probability");
  expect((await client.list("primary")).status).toBe(502);
});
