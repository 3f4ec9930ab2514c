import { createHash } from "node:crypto";
import fastify from "fastify";
import { afterEach, describe, expect, test, vi } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { tenantId, type CalendarId } from "../../src/core/ids.ts";
import { makeApiToken } from "../../src/core/token-store.ts";
import { addAccess } from "../../src/http/access.ts";
import { createHttpServer, type HttpServer } from "../../src/http/create-http-server.ts";
import { createRateLimits } from "../../src/http/rate-limits.ts";
import { createRequestRecorder } from "../../src/http/record-requests.ts";
import { createTokenVerifier } from "../../src/http/verify-token.ts";
import { must, openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import { createManualClock } from "../support/manual-clock.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { unaskedApi } from "../support/unasked-api.ts";

const OPERATOR = "a-token-of-an-operator";
const operators = [
  {
    name: "ops",
    scopes: ["read", "refresh", "operate"],
    sha256: createHash("sha256").update(OPERATOR).digest("hex"),
  },
];
const LIMITS = { token: 1_000, tenant: 1_000, consumer: 1_000 };

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

interface World {
  readonly store: TestStore;
  readonly server: HttpServer;
  readonly acme: CalendarId;
  readonly globex: CalendarId;
  /** How often the database was asked to mark, and for how many calendars. */
  readonly groups: number[];
  tokenOf(tenant: string, scopes?: readonly string[], name?: string): Promise<string>;
}

async function openWorld(limits = LIMITS): Promise<World> {
  const directory = await temporaryDirectory();
  const store = await openTestStore(`sqlite:${directory}/b.db`);
  const acme = must((await store.connect("acme", "ann", ["a@example.test"])).calendars[0]);
  const globex = must((await store.connect("globex", "bob", ["b@example.test"])).calendars[0]);
  const groups: number[] = [];
  const recorder = createRequestRecorder({
    calendars: {
      requestMany: (requests) => {
        groups.push(requests.length);
        return store.calendars.requestMany(requests);
      },
    },
    clock: systemClock,
  });
  const server = await createHttpServer(
    { host: "127.0.0.1", port: 0, tokens: operators, limits, closeWithinMs: 500 },
    {
      ...unaskedApi,
      clock: systemClock,
      logger: { log: () => undefined, with: () => must<never>(undefined) },
      readiness: () => Promise.resolve([]),
      status: () => Promise.reject(new Error("not asked here")),
      metrics: { contentType: "text/plain", render: () => Promise.resolve("") },
      notifications: {
        isOurs: () => false,
        channels: { calendarOf: () => undefined },
        recorder: { record: () => Promise.resolve("not-kept"), close: () => Promise.resolve() },
        onNotification: () => undefined,
      },
      calendars: store.calendars,
      accounts: store.accounts,
      tokens: store.tokens,
      recorder,
    },
  );
  closing.push(
    () => recorder.close(),
    () => server.close(),
  );
  return {
    store,
    server,
    acme,
    globex,
    groups,
    async tokenOf(tenant, scopes = ["read", "refresh"], name = "booking-api") {
      const { id, token, sha256 } = makeApiToken(store.now());
      await store.tokens.create(
        { id, sha256, name, scopes, tenantId: tenantId(tenant) },
        { actor: "olga", now: store.now() },
      );
      return token;
    },
  };
}

function send(
  { server }: Pick<World, "server">,
  token: string | undefined,
  body: unknown,
): Promise<Response> {
  return fetch(`${server.url}/v1/refresh`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  });
}

describe("a tenant's token", () => {
  test("marks its own calendars by either name, and is told the mark", async () => {
    const world = await openWorld();
    const token = await world.tokenOf("acme");
    const byId = await send(world, token, { calendarId: world.acme });
    expect(byId.status).toBe(202);
    expect(await byId.json()).toMatchObject({ calendarId: world.acme, mark: 1 });
    const named = { account: "ann", googleCalendarId: "a@example.test" };
    for (const body of [named, { ...named, tenant: "acme" }, { ...named, class: "poll" }]) {
      const answer = await send(world, token, body);
      expect({ body, status: answer.status }).toEqual({ body, status: 202 });
    }
    expect(await world.store.calendars.get(world.acme)).toMatchObject({
      requested: 1,
      dueClass: "interactive",
    });
  });

  test("cannot tell another tenant's calendar from one that is not there", async () => {
    const world = await openWorld();
    const token = await world.tokenOf("acme");
    const bodies = [
      { calendarId: "cal_0000000000000000" },
      { calendarId: world.globex },
      { tenant: "globex", account: "bob", googleCalendarId: "b@example.test" },
      { tenant: "nobody", account: "bob", googleCalendarId: "b@example.test" },
      { account: "bob", googleCalendarId: "b@example.test" },
    ];
    const answers = [];
    for (const body of bodies) {
      const answer = await send(world, token, body);
      const { requestId: _id, ...rest } = (await answer.json()) as { readonly requestId: string };
      answers.push({ status: answer.status, rest });
    }
    expect(new Set(answers.map((one) => JSON.stringify(one))).size).toBe(1);
    expect(answers[0]).toMatchObject({ status: 404, rest: { code: "unknown-calendar" } });
    expect(await world.store.calendars.get(world.globex)).toMatchObject({ requested: 0 });
    expect((await send(world, OPERATOR, { calendarId: world.globex })).status).toBe(202);
  });

  test("every route under /v1 refuses no token, a wrong, a revoked one and one without the scope", async () => {
    const world = await openWorld();
    const { routes, url } = world.server;
    const revoked = await world.tokenOf("acme");
    const by = { actor: "olga", now: world.store.now() };
    await world.store.tokens.revoke(must(revoked.split(".")[0]), by);
    const without = await world.tokenOf("acme", []);
    const good = await world.tokenOf("acme");
    const forged = `${must(good.split(".")[0])}.${"A".repeat(43)}`;
    const cases = [
      [undefined, 401, "token-missing"],
      ["nonsense", 401, "token-unknown"],
      [makeApiToken(world.store.now()).token, 401, "token-unknown"],
      [forged, 401, "token-unknown"],
      [revoked, 401, "token-unknown"],
      [without, 403, undefined],
    ] as const;
    expect(routes.map((route) => `${route.method} ${route.url}`)).toContain("POST /v1/refresh");
    for (const route of routes) {
      for (const [token, status, code] of cases) {
        const answer = await fetch(`${url}${route.url.replaceAll(/:\w+/g, "x")}`, {
          method: route.method,
          headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        });
        const told: unknown = route.method === "HEAD" ? { code } : await answer.json();
        const expected = code === undefined ? {} : { code };
        expect({ route, status: answer.status, told }).toMatchObject({
          status,
          told: expected,
        });
      }
    }
    expect((await send(world, good, { calendarId: world.acme })).status).toBe(202);
  });

  test("is noted as used", async () => {
    const world = await openWorld();
    const token = await world.tokenOf("acme");
    await send(world, token, { calendarId: world.acme });
    await vi.waitFor(
      async () => {
        const [row] = await world.store.tokens.list({ limit: 1 });
        expect(row?.lastUsedAt).toBeDefined();
      },
      { timeout: 60_000 },
    );
  });
});

describe("limits", () => {
  test("a tenant's consumer, the tenant and the token each have their own; an operator pays for the tenant", async () => {
    const world = await openWorld({ token: 5, tenant: 4, consumer: 2 });
    const body = { calendarId: world.acme };
    const one = await world.tokenOf("acme");
    const sameName = await world.tokenOf("acme");
    const other = await world.tokenOf("acme", ["refresh"], "other");
    const statuses = [];
    for (const token of [one, sameName, one, other, OPERATOR, OPERATOR]) {
      statuses.push((await send(world, token, body)).status);
    }
    expect(statuses).toEqual([202, 202, 429, 202, 202, 429]);
    const refused = await send(world, one, body);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ code: "too-many-requests" });
    const globex = await world.tokenOf("globex");
    expect((await send(world, globex, { calendarId: world.globex })).status).toBe(202);
  });
});

describe("a surge", () => {
  test("of wishes for one calendar is a few looks at the database and one mark (I6)", async () => {
    const world = await openWorld();
    const token = await world.tokenOf("acme");
    const answers = await Promise.all(
      Array.from({ length: 300 }, () => send(world, token, { calendarId: world.acme })),
    );
    const marks = await Promise.all(
      answers.map(async (answer) => ((await answer.json()) as { readonly mark: number }).mark),
    );
    expect(new Set(marks)).toEqual(new Set([1]));
    expect(world.groups.length).toBeLessThan(150);
    expect(new Set(world.groups)).toEqual(new Set([1]));
  });
});

describe("the verifier", () => {
  test("asks once for many, holds hits and misses for two seconds, and sees a revoke after them", async () => {
    const clock = createManualClock();
    const { id, token, sha256 } = makeApiToken(clock.now());
    const row = {
      id,
      sha256,
      name: "n",
      tenantId: tenantId("acme"),
      scopes: ["read"],
      createdAt: clock.now(),
      createdBy: "olga",
      lastUsedAt: clock.now(),
      revokedAt: undefined,
    };
    let stored: typeof row | (Omit<typeof row, "revokedAt"> & { revokedAt: number }) = row;
    const lookUps: (readonly string[])[] = [];
    const verifier = createTokenVerifier([], {
      tokens: {
        find: (ids) => {
          lookUps.push(ids);
          return Promise.resolve([stored] as never);
        },
        noteUsed: () => Promise.resolve(),
      },
      clock: { ...clock, sleep: () => Promise.resolve() },
      onError: () => undefined,
    });
    const header = `Bearer ${token}`;
    const missing = `Bearer ${makeApiToken(clock.now()).token}`;
    await Promise.all(Array.from({ length: 50 }, () => verifier.verify(header)));
    expect(lookUps).toEqual([[id]]);
    await expect(verifier.verify(missing)).rejects.toThrow("not known");
    await expect(verifier.verify(missing)).rejects.toThrow("not known");
    expect(lookUps).toHaveLength(2);
    stored = { ...row, revokedAt: 1 };
    await clock.advance(1_999);
    await verifier.verify(header);
    expect(lookUps).toHaveLength(2);
    await clock.advance(1);
    await expect(verifier.verify(header)).rejects.toThrow("not known");
    expect(lookUps).toHaveLength(3);
  });

  test("refuses to hold more look-ups than it may, and goes on after", async () => {
    const gate = Promise.withResolvers<never[]>();
    const verifier = createTokenVerifier([], {
      tokens: { find: () => gate.promise, noteUsed: () => Promise.resolve() },
      clock: systemClock,
      onError: () => undefined,
    });
    const asked = Array.from({ length: 3_000 }, () =>
      verifier.verify(`Bearer ${makeApiToken(systemClock.now()).token}`).then(
        () => "known",
        (error: unknown) => (error instanceof Error ? error.name : "?"),
      ),
    );
    gate.resolve([]);
    const outcomes = await Promise.all(asked);
    expect(outcomes.filter((name) => name === "QueueFull").length).toBe(1_000);
    expect(outcomes.filter((name) => name === "HttpProblem").length).toBe(2_000);
  });
});

test("a route under /v1 that does not say who may call it keeps the server from starting", () => {
  const server = fastify();
  const limits = createRateLimits(LIMITS, { clock: systemClock });
  const verifier = {
    verify: () => Promise.reject(new Error("no")),
    close: () => Promise.resolve(),
  };
  addAccess(server, { verifier, limits });
  expect(() => server.get("/v1/forgotten", () => "all of it")).toThrow("/v1/forgotten");
  expect(() => server.get("/livez", () => "fine")).not.toThrow();
});
