import { generateKeyPairSync } from "node:crypto";
import { inspect } from "node:util";
import { afterEach, describe, expect, test } from "vitest";
import { CallFailed } from "../../src/core/failure.ts";
import { googleCalendarId } from "../../src/core/ids.ts";
import { BudgetSpent } from "../../src/core/refusal.ts";
import { createSimulator } from "../../src/simulator/simulator.ts";
import {
  startScriptedServer,
  type Answer,
  type Arrival,
  type ScriptedServer,
} from "../support/scripted-server.ts";
import {
  ACCOUNT,
  TARGET,
  WHOLE,
  createTestSource,
  testOptions,
  type TestSource,
  type TestSourceNeeds,
} from "../support/test-source.ts";

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

type Script = (arrival: Arrival, count: number) => Answer;

const json = (body: unknown, status = 200): Answer => ({
  status,
  headers: { "content-type": "application/json; charset=UTF-8" },
  body: JSON.stringify(body),
});
const TOKEN = { access_token: "access-token-value", expires_in: 3599, token_type: "Bearer" };
const PAGE = { items: [], nextSyncToken: "sync-1" };
const googles = (status: number, reason: string): Answer =>
  json(
    {
      error: {
        errors: [{ reason, message: "Said Google." }],
        code: status,
        message: "Said Google.",
      },
    },
    status,
  );

const isToken = ({ path }: Arrival): boolean => path === "/token";

/** A server whose token endpoint works; `api` answers the rest and counts its own. */
async function setup(
  api: Script,
  over: Partial<TestSourceNeeds> & { readonly token?: Script } = {},
): Promise<
  TestSource & {
    readonly server: ScriptedServer;
    readonly api: () => Arrival[];
    readonly tokenRequests: () => Arrival[];
  }
> {
  let apiCount = 0;
  let tokenCount = 0;
  const server = await startScriptedServer((arrival) => {
    if (isToken(arrival)) return (over.token ?? (() => json(TOKEN)))(arrival, (tokenCount += 1));
    return api(arrival, (apiCount += 1));
  });
  closers.push(() => server.close());
  const parts = createTestSource({ apiRootUrl: server.url, ...over });
  closers.push(() => parts.guard.close());
  return {
    ...parts,
    server,
    api: () => server.arrivals.filter((arrival) => !isToken(arrival)),
    tokenRequests: () => server.arrivals.filter(isToken),
  };
}

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
const query = (arrival: Arrival | undefined): Record<string, string> =>
  Object.fromEntries(new URL(arrival?.path ?? "", "http://x").searchParams);

describe("one logical GET is one request, whatever comes back", () => {
  test.each<[string, Answer]>([
    ["503", googles(503, "backendError")],
    ["500 HTML", { status: 500, headers: { "content-type": "text/html" }, body: "<html>" }],
    ["429", googles(429, "rateLimitExceeded")],
    ["403 over a limit", googles(403, "userRateLimitExceeded")],
    ["403 forbidden", googles(403, "forbidden")],
    ["408", { status: 408 }],
    ["a cut connection", { cut: true }],
  ])("%s", async (_, answer) => {
    const { source, api } = await setup(() => answer, { options: { retry: { maxAttempts: 1 } } });
    expect(await caught(source.listEvents(TARGET, WHOLE, testOptions()))).toBeInstanceOf(
      CallFailed,
    );
    expect(api()).toHaveLength(1);
  });

  test.each<[string, Answer]>([
    ["503", googles(503, "backendError")],
    ["400", json({ error: "invalid_grant" }, 400)],
    ["a cut connection", { cut: true }],
  ])("a token request: %s", async (_, answer) => {
    const { source, api, tokenRequests } = await setup(() => json(PAGE), {
      token: () => answer,
      options: { retry: { maxAttempts: 1 } },
    });
    expect(await caught(source.listEvents(TARGET, WHOLE, testOptions()))).toBeInstanceOf(
      CallFailed,
    );
    expect(tokenRequests()).toHaveLength(1);
    expect(api()).toHaveLength(0);
  });

  test("with the guard's retries, a failing GET is three, and no more", async () => {
    const { source, api, broker } = await setup(() => googles(503, "backendError"));
    await caught(source.listEvents(TARGET, WHOLE, testOptions()));
    expect(api()).toHaveLength(3);
    expect(broker.asks.map(({ operation, attempt }) => `${operation} ${attempt}`)).toEqual([
      "oauth.token first",
      "events.list first",
      "events.list retry",
      "events.list retry",
    ]);
  });
});

describe("access tokens", () => {
  test("I2: many calls at once refresh once, and every request has its permit", async () => {
    const { source, server, broker, guard, api, tokenRequests, reads } = await setup(() =>
      json(PAGE),
    );
    await Promise.all(
      Array.from({ length: 12 }, () => source.listEvents(TARGET, WHOLE, testOptions())),
    );
    expect(tokenRequests()).toHaveLength(1);
    expect(reads()).toBe(1);
    expect(api()).toHaveLength(12);
    expect(broker.asks).toHaveLength(server.arrivals.length);
    expect(broker.reports).toHaveLength(server.arrivals.length);
    expect(guard.records.map(({ attribution }) => attribution.accountId)).toEqual(
      Array.from({ length: 13 }, () => ACCOUNT),
    );
    expect(new Set(api().map(({ headers }) => headers.authorization))).toEqual(
      new Set(["Bearer access-token-value"]),
    );
  });

  test("a 401 is cured by one refresh, and the next request is a retry", async () => {
    const { source, broker, api, tokenRequests } = await setup(
      (_, count) => (count === 1 ? googles(401, "authError") : json(PAGE)),
      { token: (_, count) => json({ ...TOKEN, access_token: `token-${count}` }) },
    );
    await source.listEvents(TARGET, WHOLE, testOptions());
    expect(api().map(({ headers }) => headers.authorization)).toEqual([
      "Bearer token-1",
      "Bearer token-2",
    ]);
    expect(tokenRequests()).toHaveLength(2);
    expect(broker.asks.map(({ operation, attempt }) => `${operation} ${attempt}`)).toEqual([
      "oauth.token first",
      "events.list first",
      "oauth.token first",
      "events.list retry",
    ]);
  });

  test("a 401 with a new token is not tried a third time", async () => {
    const { source, api, tokenRequests } = await setup(() => googles(401, "authError"));
    expect(await caught(source.listEvents(TARGET, WHOLE, testOptions()))).toMatchObject({
      failure: { kind: "access-token-rejected" },
    });
    expect(api()).toHaveLength(2);
    expect(tokenRequests()).toHaveLength(2);
  });

  test("invalid_grant is said of the account, once, by the token operation", async () => {
    const { source, api, tokenRequests } = await setup(() => json(PAGE), {
      token: () =>
        json({ error: "invalid_grant", error_description: "Token has been revoked." }, 400),
    });
    expect(await caught(source.listEvents(TARGET, WHOLE, testOptions()))).toMatchObject({
      code: "GCAL_CREDENTIALS_REVOKED",
      operation: "oauth.token",
    });
    expect(tokenRequests()).toHaveLength(1);
    expect(api()).toHaveLength(0);
  });

  test("a failed refresh marks its call as sent, and the next refresh pays as a retry", async () => {
    let isDown = true;
    const { source, broker } = await setup(() => json(PAGE), {
      token: () => (isDown ? { status: 503 } : json(TOKEN)),
      options: { retry: { maxAttempts: 1 } },
    });
    let sent = 0;
    const onSent = (): void => {
      sent += 1;
    };
    await caught(source.listEvents(TARGET, WHOLE, testOptions({ onSent })));
    expect(sent).toBe(1);
    isDown = false;
    await source.listEvents(TARGET, WHOLE, testOptions());
    expect(broker.asks.map(({ operation, attempt }) => `${operation} ${attempt}`)).toEqual([
      "oauth.token first",
      "oauth.token retry",
      "events.list first",
    ]);
  });

  test("a successful refresh alone does not mark the call as sent", async () => {
    const spent = new BudgetSpent({ message: "spent" });
    const { source, broker } = await setup(() => json(PAGE), {
      // The token's ask has been granted by now; the call's own is refused.
      token: () => {
        broker.refusals.push(spent);
        return json(TOKEN);
      },
    });
    let sent = 0;
    const onSent = (): void => {
      sent += 1;
    };
    const call = source.listEvents(TARGET, WHOLE, testOptions({ onSent }));
    expect(await caught(call)).toBeInstanceOf(BudgetSpent);
    expect(sent).toBe(0);
  });

  test("a more urgent caller does not wait behind a background refresh that has not left", async () => {
    const { source, broker } = await setup(() => json(PAGE));
    const held = Promise.withResolvers<undefined>();
    const acquire = broker.acquire.bind(broker);
    broker.acquire = async (ask) => {
      if (ask.attribution.class === "poll" && ask.operation === "oauth.token") await held.promise;
      ask.signal.throwIfAborted();
      return acquire(ask);
    };
    const background = source.listEvents(TARGET, WHOLE, testOptions());
    await source.listEvents(TARGET, WHOLE, testOptions({ class: "interactive" }));
    // The background call goes on with the token that the interactive one got.
    await background;
    held.resolve(undefined);
    expect(broker.asks.map(({ operation }) => operation)).toEqual([
      "oauth.token",
      "events.list",
      "events.list",
    ]);
  });

  test("a new refresh token is kept", async () => {
    const { source, replaced } = await setup(() => json(PAGE), {
      token: () => json({ ...TOKEN, refresh_token: "a-newer-refresh-token" }),
    });
    await source.listEvents(TARGET, WHOLE, testOptions());
    expect(replaced).toEqual(["a-newer-refresh-token"]);
  });

  test("an account without credentials asks nobody and must reconnect", async () => {
    const { source, server } = await setup(() => json(PAGE));
    const target = { ...TARGET, accountId: "acc_gone" as typeof ACCOUNT };
    expect(await caught(source.listEvents(target, WHOLE, testOptions()))).toMatchObject({
      failure: { kind: "credentials-revoked" },
    });
    expect(server.arrivals).toHaveLength(0);
  });

  test("a service account signs for its subject and names the user that is charged", async () => {
    const { privateKey } = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      privateKeyEncoding: { type: "pkcs8", format: "pem" },
      publicKeyEncoding: { type: "spki", format: "pem" },
    });
    const { source, api, tokenRequests } = await setup(() => json(PAGE), {
      grant: {
        kind: "service-account",
        clientEmail: "robot@project.iam.gserviceaccount.com",
        privateKey,
        subject: "ada@example.org",
        scopes: ["https://www.googleapis.com/auth/calendar"],
      },
    });
    await source.listEvents(TARGET, WHOLE, testOptions());
    const assertion = new URLSearchParams(tokenRequests()[0]?.body).get("assertion") ?? "";
    const claims: unknown = JSON.parse(
      Buffer.from(assertion.split(".")[1] ?? "", "base64url").toString(),
    );
    expect(claims).toMatchObject({ sub: "ada@example.org" });
    expect(query(api()[0])["quotaUser"]).toMatch(/^[0-9a-f]{40}$/);
  });
});

const SECRETS = /access-token-value|refresh-token-value|client-secret-value|Bearer/;
const everything = (error: unknown): string =>
  inspect(error, { depth: 20, showHidden: true, getters: true }) + String((error as Error).stack);

describe("nothing secret is in an error", () => {
  test.each<[string, Script, Script | undefined]>([
    ["an API error", () => googles(503, "backendError"), undefined],
    ["an HTML error", () => ({ status: 502, body: "<html>" }), undefined],
    ["a cut connection", () => ({ cut: true }), undefined],
    ["garbage", () => ({ status: 200, body: "{garbage" }), undefined],
    ["a token error", () => json(PAGE), () => json({ error: "invalid_grant" }, 400)],
    ["a token 5xx", () => json(PAGE), () => ({ status: 500, body: "" })],
    ["a token answer of garbage", () => json(PAGE), () => ({ status: 200, body: "<html>" })],
    [
      "half a token answer",
      () => json(PAGE),
      () => ({ status: 200, body: JSON.stringify(TOKEN).slice(0, 45) }),
    ],
    ["a cut token request", () => json(PAGE), () => ({ cut: true })],
  ])("%s", async (_, api, token) => {
    const { source } = await setup(api, {
      ...(token ? { token } : {}),
      options: { retry: { maxAttempts: 1 } },
    });
    const error = await caught(source.listEvents(TARGET, WHOLE, testOptions()));
    expect(error).toBeInstanceOf(CallFailed);
    expect(everything(error)).not.toMatch(SECRETS);
  });
});

describe("a page is what it promises, or malformed", () => {
  test.each<[string, string]>([
    ["garbage", "%%%"],
    ["an empty body", ""],
    ["a string", '"hello"'],
    ["null", "null"],
    ["no items", '{"nextSyncToken":"x"}'],
    ["items that are none", '{"items":{},"nextSyncToken":"x"}'],
    ["an item that is none", '{"items":[null],"nextSyncToken":"x"}'],
    ["an item without an id", '{"items":[{"status":"confirmed"}],"nextSyncToken":"x"}'],
    ["a last page without a sync token", '{"items":[]}'],
    ["truncated JSON", '{"items":[{"id":"a"'],
  ])("%s", async (_, body) => {
    const { source, api } = await setup(() => ({
      status: 200,
      headers: { "content-type": "application/json" },
      body,
    }));
    expect(await caught(source.listEvents(TARGET, WHOLE, testOptions()))).toMatchObject({
      failure: { kind: "malformed-response" },
    });
    // It may have been a hiccup: tried again in place, as a retry.
    expect(api()).toHaveLength(3);
  });

  test("a hiccup is over with the second try", async () => {
    const { source } = await setup((_, count) =>
      count === 1 ? { status: 200, body: "" } : json({ ...PAGE, items: [{ id: "a" }] }),
    );
    const page = await source.listEvents(TARGET, WHOLE, testOptions());
    expect(page.items).toEqual([{ id: "a" }]);
  });

  test("an empty page with a next page, and an event without a start, are fine", async () => {
    const { source } = await setup((_, count) =>
      json(
        count === 1
          ? { items: [], nextPageToken: "p2" }
          : { ...PAGE, items: [{ id: "a", status: "cancelled" }] },
      ),
    );
    expect(await source.listEvents(TARGET, WHOLE, testOptions())).toMatchObject({
      items: [],
      nextPageToken: "p2",
      nextSyncToken: undefined,
    });
    const last = await source.listEvents(TARGET, { ...WHOLE, pageToken: "p2" }, testOptions());
    expect(last).toMatchObject({ items: [{ id: "a" }], nextSyncToken: "sync-1" });
  });
});

describe("the query", () => {
  test("a listing, its pages and its deltas differ by nothing but tokens", async () => {
    const { source, api } = await setup(() => json(PAGE));
    await source.listEvents(TARGET, WHOLE, testOptions());
    await source.listEvents(TARGET, { ...WHOLE, pageToken: "p2" }, testOptions());
    await source.listEvents(TARGET, { ...WHOLE, syncToken: "s1" }, testOptions());
    const base = { maxResults: "2500", singleEvents: "false" };
    expect(api().map(query)).toEqual([
      base,
      { ...base, pageToken: "p2" },
      { ...base, syncToken: "s1" },
    ]);
  });

  test("a calendar list names deleted and hidden calendars, at most 250 a page", async () => {
    const { source, api } = await setup(() =>
      json({
        nextSyncToken: "s",
        items: [
          {
            id: "a",
            summary: "Own",
            summaryOverride: "Mine",
            primary: true,
            accessRole: "owner",
            timeZone: "UTC",
          },
          { id: "b", deleted: true, hidden: true },
        ],
      }),
    );
    const page = await source.listCalendars(ACCOUNT, WHOLE, testOptions());
    expect(query(api()[0])).toEqual({ maxResults: "250", showDeleted: "true", showHidden: "true" });
    expect(page.items).toEqual([
      {
        googleId: "a",
        summary: "Mine",
        timeZone: "UTC",
        accessRole: "owner",
        isPrimary: true,
        isHidden: false,
        isDeleted: false,
      },
      {
        googleId: "b",
        summary: undefined,
        timeZone: undefined,
        accessRole: undefined,
        isPrimary: false,
        isHidden: true,
        isDeleted: true,
      },
    ]);
  });

  test("a busy mirror asks for no titles and keeps of the attendees only the calendar's own", async () => {
    const attendees = [{ responseStatus: "accepted" }, { self: true, responseStatus: "declined" }];
    const { source, api } = await setup(() => json({ ...PAGE, items: [{ id: "a", attendees }] }), {
      mirror: "busy",
    });
    const page = await source.listEvents(TARGET, WHOLE, testOptions());
    expect(query(api()[0])["fields"]).not.toMatch(/summary|description|location|email|displayName/);
    expect(page.items).toEqual([
      { id: "a", attendees: [{ self: true, responseStatus: "declined" }] },
    ]);
  });

  test("the mirrors' fingerprints differ, and stay the same from one process to the next", async () => {
    const full = await setup(() => json(PAGE));
    const busy = await setup(() => json(PAGE), { mirror: "busy" });
    expect(full.source.eventsFingerprint).toBe("events-ffb250b70819bbc4");
    expect(busy.source.eventsFingerprint).not.toBe(full.source.eventsFingerprint);
    expect(busy.source.calendarListFingerprint).toBe(full.source.calendarListFingerprint);
  });

  test.each([
    "en.german#holiday@group.v.calendar.google.com",
    "a/b@example.org",
    "50%25@example.org",
    "with:colon@import.calendar.google.com",
    "größe-日本@example.org",
    "Case@Example.org",
    "q?a=b&c@example.org",
    "plus+space here@example.org",
  ])("the calendar id %s arrives as it is", async (id) => {
    const { source, api } = await setup(() => json(PAGE));
    await source.listEvents(
      { ...TARGET, googleCalendarId: googleCalendarId(id) },
      WHOLE,
      testOptions(),
    );
    const [, , , , encoded = "", rest] = new URL(api()[0]?.path ?? "", "http://x").pathname.split(
      "/",
    );
    expect(decodeURIComponent(encoded)).toBe(id);
    expect(rest).toBe("events");
  });
});

test("the same client works against the simulator: discovery, pages, deltas, a dead token", async () => {
  const simulator = await createSimulator({
    seed: "calendar-source",
    generate: { accounts: 1, calendars: 3, events: 25 },
  });
  closers.push(() => simulator.close());
  const [account] = simulator.accounts();
  const { source, guard, broker } = createTestSource({
    apiRootUrl: simulator.url,
    tokenUrl: simulator.tokenUrl,
    grant: { kind: "refresh-token", refreshToken: account?.refreshToken ?? "" },
  });
  closers.push(() => guard.close());
  const list = await source.listCalendars(ACCOUNT, WHOLE, testOptions());
  expect(list.items.length).toBeGreaterThanOrEqual(3);

  const target = { ...TARGET, googleCalendarId: googleCalendarId(list.items[0]?.googleId ?? "") };
  let page = await source.listEvents(target, { ...WHOLE, pageSize: 7 }, testOptions());
  let pages = 1;
  while (page.nextPageToken !== undefined) {
    page = await source.listEvents(
      target,
      { ...WHOLE, pageSize: 7, pageToken: page.nextPageToken },
      testOptions(),
    );
    pages += 1;
  }
  expect(pages).toBeGreaterThan(1);
  const delta = await source.listEvents(
    target,
    { ...WHOLE, pageSize: 7, syncToken: page.nextSyncToken },
    testOptions(),
  );
  expect(delta.items).toEqual([]);
  expect(
    await caught(source.listEvents(target, { ...WHOLE, syncToken: "made-up" }, testOptions())),
  ).toBeInstanceOf(CallFailed);
  const counters = simulator.counters();
  expect(broker.asks).toHaveLength(counters.arrivals + counters.tokenRequests);
});
