import { generateKeyPairSync } from "node:crypto";
import { JWT, OAuth2Client } from "google-auth-library";
import { expect, vi } from "vitest";
import {
  BatchRefused,
  BreakerOpen,
  BudgetSpent,
  CallFailed,
  ClassNotAllowed,
  createGuardedClient,
  LedgerUnavailable,
  Paused,
  Unattributed,
} from "../../packages/client/src/index.ts";
import { systemClock } from "../../src/core/clock.ts";
import { openClientWorld, type ClientWorld } from "../support/client-world.ts";
import { test as base } from "../support/redis-test.ts";

const test = base.extend<{ readonly world: ClientWorld }>({
  world: async ({ redisConnection }, use) => {
    const world = await openClientWorld(redisConnection);
    try {
      await use(world);
    } finally {
      await world.close();
    }
  },
});

const EVENT = {
  summary: "Lunch",
  start: { dateTime: "2026-03-02T12:00:00Z" },
  end: { dateTime: "2026-03-02T13:00:00Z" },
};

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

const operationsOf = (requests: readonly { readonly operation: string }[]): string[] =>
  requests.map(({ operation }) => operation).toSorted();

test("I2: each request and each token refresh of the usual client has a permit and is attributed", async ({
  world,
}) => {
  const { calendar, close } = world.open();
  const { calendarId } = world;
  const { data: created } = await calendar.events.insert({ calendarId, requestBody: EVENT });
  const eventId = created.id ?? "";
  await calendar.events.list({ calendarId, maxResults: 10, singleEvents: false });
  await calendar.events.patch({ calendarId, eventId, requestBody: { summary: "Late lunch" } });
  const { data: read } = await calendar.events.get({ calendarId, eventId });
  expect(read.summary).toBe("Late lunch");
  await calendar.events.update({ calendarId, eventId, requestBody: EVENT });
  await calendar.events.delete({ calendarId, eventId });
  await calendar.calendarList.list();
  await calendar.calendars.get({ calendarId });
  const requestBody = { timeMin: EVENT.start.dateTime, timeMax: EVENT.end.dateTime, items: [] };
  await calendar.freebusy.query({ requestBody });
  // Not known by name, and all the same under the budget: the simulator has no colours.
  expect(await caught(calendar.colors.get())).toBeInstanceOf(CallFailed);
  await close();

  const arrivals = world.arrivals();
  const named = operationsOf(world.records).filter((one) => one !== "other");
  expect(named).toEqual(operationsOf(arrivals.filter(({ status }) => status !== 404)));
  expect(named).toContain("oauth.token");
  expect(named).toHaveLength(10);
  expect(world.records).toHaveLength(11);
  for (const { attribution, attempt } of world.records) {
    expect(attempt).toBe("first");
    expect(attribution).toMatchObject({
      projectId: "test",
      tenantId: "acme",
      accountId: "acme/ada",
      consumer: "booking-api",
      class: "interactive",
      quotaUser: world.options.quotaUser,
    });
  }
  expect(await world.counted()).toBe(world.records.length);
});

test("an auth of the adopter's own refreshes its token through the choke point, and is given back", async ({
  world,
}) => {
  const { credentials, google } = world.options;
  const auth = new OAuth2Client({
    clientId: credentials.clientId,
    clientSecret: credentials.clientSecret,
    endpoints: { oauth2TokenUrl: google.tokenUrl },
  });
  auth.setCredentials({ refresh_token: credentials.refreshToken });
  const { calendar, close } = world.open({ auth, credentials: undefined });
  const { calendarId } = world;
  await Promise.all([
    calendar.events.list({ calendarId }),
    calendar.events.list({ calendarId }),
    calendar.calendarList.list(),
  ]);
  const asked = (): string[] => operationsOf(world.arrivals());
  expect(asked()).toEqual(["calendarList.list", "events.list", "events.list", "oauth.token"]);

  // A token that dies before its time is replaced once, and the request after that is a retry.
  const [account] = world.simulator.accounts();
  if (account) account.tokensDeadBeforeMs = Date.now() + 1;
  await vi.waitFor(() => {
    expect(Date.now()).toBeGreaterThan(account?.tokensDeadBeforeMs ?? 0);
  });
  await calendar.events.list({ calendarId });
  expect(asked().filter((one) => one === "oauth.token")).toHaveLength(2);
  expect(world.records.at(-1)).toMatchObject({ operation: "events.list", attempt: "retry" });
  expect(operationsOf(world.records)).toEqual(asked());

  // Nothing but tokens is asked for with it, and a second calendar cannot take it over.
  expect(await caught(auth.request({ url: `${google.apiRootUrl}calendar/v3/x` }))).toMatchObject({
    cause: { code: "BALLAST_UNATTRIBUTED" },
  });
  expect(() => world.open({ auth, credentials: undefined })).toThrow(/another guarded calendar/);
  await close();
  expect(auth.transporter.defaults).not.toHaveProperty("fetchImplementation");
  expect(await world.counted()).toBe(world.records.length);
});

test("a service account, by its key or by a JWT of the adopter's, is guarded, and names whom it is charged to", async ({
  redisConnection,
}) => {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const email = "robot@project.example";
  const world = await openClientWorld(redisConnection, {
    serviceAccounts: [{ email, publicKey, project: "project" }],
  });
  try {
    const { calendarId } = world;
    const subject = world.simulator.accounts()[0]?.email ?? "";
    const scopes = ["https://www.googleapis.com/auth/calendar"];
    const byKey = world.open({ credentials: { clientEmail: email, privateKey, subject, scopes } });
    await byKey.calendar.events.list({ calendarId });
    const auth = new JWT({ email, key: privateKey, subject, scopes });
    const byAuth = world.open({ auth, credentials: undefined });
    await byAuth.calendar.events.list({ calendarId, quotaUser: "somebody else" });
    expect(operationsOf(world.arrivals())).toEqual([
      "events.list",
      "events.list",
      "oauth.token",
      "oauth.token",
    ]);
    expect(operationsOf(world.records)).toEqual(operationsOf(world.arrivals()));
    // One quota user, and not the one that a call named.
    expect(Object.values(world.simulator.counters().mostArrivals.byQuotaUser)).toEqual([2]);
  } finally {
    await world.close();
  }
});

test("failing upstream: a read is tried again as a retry, an insert is not sent twice", async ({
  world,
}) => {
  const { calendar, close } = world.open();
  const { calendarId } = world;
  await calendar.events.list({ calendarId });
  const down = { kind: "error", status: 503, reason: "backendError" };
  world.simulator.faults.install({
    faults: [
      { match: { operation: "events.list", times: 1 }, answer: down },
      { match: { operation: "events.insert" }, answer: down },
    ],
  });
  await calendar.events.list({ calendarId });
  const failed = await caught(calendar.events.insert({ calendarId, requestBody: EVENT }));
  expect(failed).toBeInstanceOf(CallFailed);
  expect(failed).toMatchObject({ failure: { kind: "upstream-unavailable" } });
  await close();
  const attempts = world.records.map(({ operation, attempt }) => `${operation} ${attempt}`);
  expect(attempts).toEqual([
    "oauth.token first",
    "events.list first",
    "events.list first",
    "events.list retry",
    "events.insert first",
  ]);
  expect(world.arrivals()).toHaveLength(attempts.length);
  // No write succeeded: nobody is asked for a refresh.
  expect(world.ballast.arrivals).toEqual([]);
});

test("I3: a loop around the client pays for retries, and what Google has answered for good is no retry", async ({
  world,
}) => {
  const { calendar } = world.open();
  const { calendarId } = world;
  const insert = (): Promise<unknown> =>
    caught(calendar.events.insert({ calendarId, requestBody: EVENT }));
  world.simulator.faults.install({
    faults: [
      {
        match: { operation: "events.insert", times: 2 },
        answer: { kind: "error", status: 503, reason: "backendError" },
      },
    ],
  });
  for (let count = 0; count < 4; count += 1) await insert();
  for (let count = 0; count < 2; count += 1) {
    await caught(calendar.events.get({ calendarId, eventId: "unknown" }));
  }
  const attempts = world.records.map(({ operation, attempt }) => `${operation} ${attempt}`);
  expect(attempts).toEqual([
    "oauth.token first",
    "events.insert first",
    "events.insert retry",
    "events.insert retry",
    "events.insert first",
    "events.get first",
    "events.get first",
  ]);
});

test("an account that is asked for again by the same credentials keeps its access token", async ({
  world,
}) => {
  const client = createGuardedClient(world.options);
  try {
    for (let count = 0; count < 3; count += 1) {
      const { calendar } = client.forAccount({ ...world.options });
      await calendar.events.list({ calendarId: world.calendarId });
    }
    expect(operationsOf(world.arrivals())).toEqual([
      "events.list",
      "events.list",
      "events.list",
      "oauth.token",
    ]);
  } finally {
    await client.close();
  }
});

test("an account's token is refreshed once for all programs of the fleet, by credentials or an auth of their own", async ({
  world,
}) => {
  const ownAuth = (): OAuth2Client => {
    const { clientId, clientSecret, refreshToken } = world.options.credentials;
    const auth = new OAuth2Client({ clientId, clientSecret });
    auth.setCredentials({ refresh_token: refreshToken });
    return auth;
  };
  const programs = [
    world.open(),
    world.open({ consumer: "atoms" }),
    world.open({ credentials: undefined, auth: ownAuth() }),
    world.open({ credentials: undefined, auth: ownAuth() }),
  ];
  await Promise.all(
    programs.map((program) => program.calendar.events.list({ calendarId: world.calendarId })),
  );
  const tokens = world.arrivals().filter(({ operation }) => operation === "oauth.token");
  expect(tokens).toHaveLength(1);
});

test("a body that does not parse is a failure, not an answer", async ({ world }) => {
  const { calendar } = world.open();
  world.simulator.faults.install({
    faults: [{ match: { operation: "events.list" }, answer: { kind: "malformed" } }],
  });
  const failed = await caught(calendar.events.list({ calendarId: world.calendarId }));
  expect(failed).toMatchObject({ code: "GCAL_MALFORMED_RESPONSE" });
});

test("every way around the budget is refused before anything is sent", async ({ world }) => {
  const { calendar } = world.open();
  const { calendarId } = world;
  const auth = new OAuth2Client();
  expect(() => calendar.events.list({ calendarId, auth })).toThrow(Unattributed);
  expect(() => calendar.events.list({ calendarId }, { http2: true })).toThrow(Unattributed);
  expect(() => calendar.events.list({ calendarId }, { fetchImplementation: fetch })).toThrow(
    Unattributed,
  );
  const batch = { url: `${world.simulator.url}batch/calendar/v3`, method: "POST" as const };
  expect(await caught(calendar.events.list({ calendarId }, batch))).toBeInstanceOf(BatchRefused);
  const elsewhere = { rootUrl: "http://127.0.0.1:9/" };
  await caught(calendar.events.list({ calendarId }, elsewhere));
  const sent = world.records.filter(({ outcome }) => outcome !== "refused");
  expect(world.arrivals()).toHaveLength(sent.length);
  expect(operationsOf(world.arrivals()).filter((one) => one !== "oauth.token")).toEqual([
    "events.list",
  ]);
});

test("what was not sent says why by its type, and for how long", async ({ world }) => {
  const { calendarId, parts } = world;
  const { calendar, withClass } = world.open();
  const list = (client = calendar): Promise<unknown> => client.events.list({ calendarId });
  await list();

  const { list: rows } = parts.settings;
  const pause = { reason: "incident 7", endsAt: Date.now() + 60_000 };
  Object.assign(parts.settings, {
    list: async (prefix: string) => [
      ...(await rows(prefix)),
      ...(prefix.startsWith("pause.")
        ? [{ name: `${prefix}tenant:acme`, value: pause, updatedAt: systemClock.now() }]
        : []),
    ],
  });
  await parts.opener.applySettings();
  const paused = await caught(list(withClass("push")));
  expect(paused).toBeInstanceOf(Paused);
  expect(String(paused)).toContain("incident 7");
  expect((paused as Paused).retryAfterMs).toBeGreaterThan(30_000);
  Object.assign(parts.settings, { list: rows });

  parts.settings.set("quota.test.consumer:booking-api", { cap: 1, classes: ["poll"] });
  await parts.opener.applySettings();
  expect(await caught(list())).toBeInstanceOf(ClassNotAllowed);

  await parts.ledger.openBreaker("calendar");
  expect(await caught(list(withClass("poll")))).toSatisfy(
    (error) => error instanceof BreakerOpen && Number(error.retryAfterMs) > 0,
  );
  const sent = world.records.filter(({ outcome }) => outcome !== "refused");
  expect(world.arrivals()).toHaveLength(sent.length);
});

test("a spent budget is told as such, with the wait", async ({ redisConnection }) => {
  const settings = { projectPerMinute: 6, userPerMinute: 6, pacingBurst: 1 };
  const world = await openClientWorld(redisConnection, { settings });
  try {
    const { calendar, withClass } = world.open();
    // A person waits until the ledger vouches for a new process; background work does not.
    await calendar.events.list({ calendarId: world.calendarId });
    const poll = withClass("poll");
    const outcomes: unknown[] = [];
    for (let count = 0; count < 8; count += 1) {
      outcomes.push(await caught(poll.events.list({ calendarId: world.calendarId })));
    }
    const spent = outcomes.filter((one) => one !== undefined);
    expect(spent.length).toBeGreaterThan(0);
    for (const one of spent) {
      expect(one).toBeInstanceOf(BudgetSpent);
      expect((one as BudgetSpent).retryAfterMs).toBeGreaterThan(0);
    }
    expect(world.arrivals().length).toBeLessThanOrEqual(6);
  } finally {
    await world.close();
  }
});

test("I9: without Redis nothing is sent, and LedgerUnavailable says so in time", async ({
  world,
}) => {
  const { calendar } = world.open({ redis: "/nowhere/redis.sock", deadlineMs: 1_500 });
  const refused = await caught(calendar.events.list({ calendarId: world.calendarId }));
  expect(refused).toBeInstanceOf(LedgerUnavailable);
  expect((refused as LedgerUnavailable).retryAfterMs).toBeGreaterThan(0);
  expect(world.arrivals()).toEqual([]);
});

test("after a write Ballast is asked for that calendar's refresh, once for a burst", async ({
  world,
}) => {
  const { calendar, requestRefresh, close } = world.open();
  const { calendarId } = world;
  await Promise.all(
    Array.from({ length: 5 }, () => calendar.events.insert({ calendarId, requestBody: EVENT })),
  );
  await calendar.events.list({ calendarId });
  await requestRefresh(calendarId);
  const beforePrimary = world.ballast.arrivals.length;
  expect(beforePrimary).toBeLessThanOrEqual(6);
  await calendar.events.insert({ calendarId: "primary", requestBody: EVENT });
  await close();

  expect(world.ballast.arrivals.length).toBe(beforePrimary + 1);
  expect(JSON.parse(world.ballast.arrivals.at(-1)?.body ?? "")).toEqual({
    tenant: "acme",
    account: "ada",
    googleCalendarId: world.simulator.accounts()[0]?.email,
  });
  for (const { path, method, headers } of world.ballast.arrivals) {
    expect({ path, method }).toEqual({ path: "/v1/refresh", method: "POST" });
    expect(headers.authorization).toBe("Bearer refresh-token");
  }
  expect(world.errors).toEqual([]);
});

test("a Ballast that refuses or is gone fails no write, and is reported", async ({
  redisConnection,
}) => {
  const body = JSON.stringify({ detail: "no such calendar" });
  const world = await openClientWorld(redisConnection, { answer: () => ({ status: 404, body }) });
  try {
    const { calendarId } = world;
    const first = world.open();
    const { status } = await first.calendar.events.insert({ calendarId, requestBody: EVENT });
    expect(status).toBe(200);
    await first.close();
    expect(world.errors).toMatchObject([
      {
        code: "BALLAST_REFRESH_NOT_REQUESTED",
        status: 404,
        target: { googleCalendarId: calendarId },
      },
    ]);
    await world.ballast.close();
    const second = world.open();
    await second.calendar.events.insert({ calendarId, requestBody: EVENT });
    await second.close();
    expect(world.errors).toHaveLength(2);
    expect(world.errors[1]).toMatchObject({ status: undefined });
  } finally {
    await world.close();
  }
});
