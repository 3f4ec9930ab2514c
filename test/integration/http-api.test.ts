import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { QuestionRefused } from "../../src/core/calendar-reads.ts";
import { encodeCursor } from "../../src/core/change-wire.ts";
import { systemClock } from "../../src/core/clock.ts";
import { tenantId } from "../../src/core/ids.ts";
import { QueueFull, StoreUnavailable } from "../../src/core/refusal.ts";
import { createApiDocument } from "../../src/http/api-document.ts";
import { API_ROUTES } from "../../src/http/api-routes.ts";
import { problemsOf, type RouteShape } from "../../src/http/define-route.ts";
import { PROBLEMS, type ProblemCode } from "../../src/http/http-problem.ts";
import {
  openApiWorld,
  OPERATORS,
  publishEvents,
  type ApiWorld,
} from "../scenarios/isolation/api-world.ts";
import {
  namesOf,
  readOperations,
  type Field,
  type Operation,
} from "../scenarios/isolation/read-document.ts";
import { createSender, type Answered } from "../scenarios/isolation/send-request.ts";
import { toRequest } from "../scenarios/isolation/try-routes.ts";

const ROUTES: Readonly<Record<string, RouteShape>> = API_ROUTES;
const document = createApiDocument(ROUTES);

let world: ApiWorld;
let token: string;
beforeAll(async () => {
  world = await openApiWorld();
  token = await world.tokenOf("acme", ["read", "refresh"]);
});
afterAll(() => world.close());

interface Told {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

async function ask(
  path: string,
  init: Omit<RequestInit, "headers"> & {
    readonly headers?: Record<string, string>;
    readonly as?: string;
    readonly of?: ApiWorld;
  } = {},
): Promise<Told> {
  const response = await fetch(`${(init.of ?? world).server.url}${path}`, {
    ...init,
    headers: { authorization: `Bearer ${init.as ?? token}`, ...init.headers },
  });
  const text = await response.text();
  const body = (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, body };
}

describe("the document", () => {
  test("has every route of the server, and no other", () => {
    const served = world.server.routes.map(({ method, url }) => `${method} ${url}`);
    const described = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map(
        (method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ":$1")}`,
      ),
    );
    expect(described.toSorted()).toEqual(served.toSorted());
  });

  test("is served as it is", async () => {
    const { status, body } = await ask("/v1/openapi.json");
    expect(status).toBe(200);
    expect(body).toEqual(JSON.parse(JSON.stringify(document)));
  });

  test("names every problem there is but one, and none that is not", () => {
    const named = new Set(Object.values(ROUTES).flatMap((shape) => problemsOf(shape)));
    // No route of the table can say that there is no such route.
    expect([...named, "route-unknown"].toSorted()).toEqual(Object.keys(PROBLEMS).toSorted());
  });
});

interface Changes {
  readonly as?: string | undefined;
  readonly set?: Readonly<Record<string, string>>;
  readonly odd?: string;
  readonly body?: string;
  readonly type?: string;
}

/** A request with its examples and what the first tenant has, an operator's unless told otherwise. */
async function send(at: ApiWorld, operation: Operation, changes: Changes): Promise<Answered> {
  const as = "as" in changes ? changes.as : OPERATORS.all;
  const asked = toRequest(operation, valuesOf(at, operation, changes), { value: as });
  const { body, type, odd = "" } = changes;
  const separator = odd.startsWith("&") && !asked.path.includes("?") ? "?" : "";
  const sender = createSender(at.server.url);
  try {
    return await sender.send({
      ...asked,
      // In the path: an address that no route can be looked for under.
      path: odd.startsWith("%") ? `/v1${odd}` : `${asked.path}${separator}${odd}`,
      headers: { ...asked.headers, ...(type === undefined ? {} : { "content-type": type }) },
      body: body ?? asked.body,
    });
  } finally {
    sender.close();
  }
}

function valuesOf(
  at: ApiWorld,
  operation: Operation,
  { set }: Pick<Changes, "set">,
): ReadonlyMap<Field, unknown> {
  const values = new Map<Field, unknown>();
  for (const field of operation.fields) {
    const own =
      field.names === undefined ? field.example : namesOf(at.inhabitants[0], field.names)[0];
    const value = set?.[field.name] ?? (field.isRequired ? own : undefined);
    if (value !== undefined) values.set(field, field.isList ? [value] : value);
  }
  return values;
}

function fieldNaming({ fields }: Operation, names: string): string {
  const field = fields.find((one) => one.names === names);
  if (field === undefined) throw new Error(`No field names a ${names}`);
  return field.name;
}

function refuseAsTooLarge(): Promise<never> {
  return Promise.reject(new QuestionRefused("answer-too-large", "too large"));
}

type Meet = (operation: Operation) => Promise<Answered>;

/** Name something that is not there. */
function withField(names: string, value: string): Meet {
  return (operation) => send(world, operation, { set: { [fieldNaming(operation, names)]: value } });
}

function setting(set: Readonly<Record<string, string>>): Meet {
  return (operation) => send(world, operation, { set });
}

describe("every problem that the document names is met", () => {
  const broken: { error: Error | undefined } = { error: undefined };
  const others: ApiWorld[] = [];
  let sick: ApiWorld;
  let strict: ApiWorld;
  let unable: ApiWorld;
  let leaving: ApiWorld;
  beforeAll(async () => {
    sick = await openApiWorld({
      deps: (deps) => ({
        ...deps,
        tokens: { ...deps.tokens, find: () => Promise.reject(broken.error ?? new Error("?")) },
      }),
    });
    strict = await openApiWorld({ limits: { token: 0.01, tenant: 1e9, consumer: 1e9 } });
    unable = await openApiWorld({
      deps: (deps) => ({ ...deps, consent: undefined }),
      wrapReader: () => ({ readBusy: refuseAsTooLarge, readEvents: refuseAsTooLarge }),
    });
    leaving = await openApiWorld();
    others.push(sick, strict, unable, leaving);
    await leaving.store.removals.ask(
      { kind: "tenant", tenantId: tenantId("acme") },
      { actor: "olga", reason: undefined, isRevoking: false, now: systemClock.now() },
    );
    const account = unable.inhabitants[0].account;
    const by = { actor: "olga", now: systemClock.now() };
    await unable.store.accounts.setOperatorPause(account, { reason: "test" }, by);
  });
  afterAll(async () => {
    for (const one of others) await one.close();
  });

  const failing =
    (error: () => Error): Meet =>
    async (operation) => {
      broken.error = error();
      const as = await sick.tokenOf("acme", ["read", "refresh", "operate"]);
      return send(sick, operation, { as });
    };
  const MEET: Record<Exclude<ProblemCode, "route-unknown">, Meet> = {
    "bad-request": (operation) => send(world, operation, { odd: "%zz" }),
    "token-missing": (operation) => send(world, operation, { as: undefined }),
    "token-unknown": (operation) => send(world, operation, { as: "nobody" }),
    "scope-missing": (operation) =>
      send(world, operation, {
        as: operation.scope === "read" ? OPERATORS.refresh : OPERATORS.read,
      }),
    "operators-only": async (operation) =>
      send(world, operation, { as: await world.tokenOf("acme", ["read", "refresh", "operate"]) }),
    "too-many-requests": async (operation) => {
      await send(strict, operation, {});
      return send(strict, operation, {});
    },
    overloaded: failing(() => new QueueFull({ message: "full", retryAfterMs: 10 })),
    "store-unavailable": failing(() => new StoreUnavailable({ message: "gone" })),
    internal: failing(() => new Error("secret of the driver: /var/lib/b.db")),
    "invalid-parameter": (operation) =>
      operation.fields.some(({ place }) => place === "query")
        ? send(world, operation, { odd: "&unheard=1" })
        : send(world, operation, {
            set: Object.fromEntries(operation.fields.map(({ name }) => [name, "x".repeat(300)])),
          }),
    "invalid-body": (operation) => send(world, operation, { body: "[]" }),
    "body-too-large": (operation) => send(world, operation, { body: `"${"x".repeat(70_000)}"` }),
    "unsupported-media-type": (operation) => send(world, operation, { type: "text/plain" }),
    "unknown-tenant": withField("tenant", "nobody"),
    "unknown-account": withField("account", "acc_0000000000"),
    "unknown-calendar": withField("calendar", "cal_0000000000"),
    "calendar-not-refreshable": (operation) => send(unable, operation, {}),
    "being-removed": (operation) => send(leaving, operation, {}),
    "reconnect-impossible": (operation) => send(unable, operation, {}),
    "range-empty": setting({ from: "2026-01-05T00:00:00Z", to: "2026-01-05T00:00:00Z" }),
    "range-too-long": setting({ from: "2026-01-05T00:00:00Z", to: "2028-01-05T00:00:00Z" }),
    "bad-time-zone": setting({ timeZone: "Nowhere/City" }),
    "bad-cursor": (operation) =>
      setting({
        after: "nonsense",
        ...(operation.name === "listChanges" ? { tenant: "acme" } : {}),
      })(operation),
    "changes-forgotten": setting({
      tenant: "acme",
      after: encodeCursor(tenantId("acme"), 1e9),
    }),
    "unknown-webhook": (operation) => send(unable, operation, {}),
    "answer-too-large": (operation) => send(unable, operation, {}),
  };

  // The first form, where a body may have several.
  const operations = [
    ...new Map(
      readOperations()
        .toReversed()
        .map((one) => [one.name, one]),
    ).values(),
  ];
  const cases = operations.flatMap((operation) => {
    const shape = ROUTES[operation.name];
    return (shape === undefined ? [] : problemsOf(shape)).map(
      (code) => [operation.name, code, operation] as const,
    );
  });
  test.each(cases)("%s: %s", async (_name, code, operation) => {
    const { status, headers, body } = await MEET[code as keyof typeof MEET](operation);
    const told = JSON.parse(body) as Record<string, unknown>;
    expect(told).toMatchObject({ code, status: PROBLEMS[code].status });
    expect(status).toBe(PROBLEMS[code].status);
    expect(headers["content-type"]).toMatch(/^application\/problem\+json\b/);
    expect(headers["x-request-id"]).toBe(told["requestId"]);
    expect(headers["x-content-type-options"]).toBe("nosniff");
    expect(body).not.toContain("driver");
    const mustWait = status === 429 || status === 503;
    expect(Number(headers["retry-after"] ?? 0) > 0).toBe(mustWait);
  });
});

const RANGE = "from=2026-01-05T00:00:00Z&to=2026-01-07T00:00:00Z";

describe("reads", () => {
  test("busy: what is busy, what is unknown and why, and how fresh each copy is", async () => {
    const [published, never] = world.inhabitants[0].calendars;
    const both = `calendarId=${String(published)}&calendarId=${String(never)}`;
    const one = await ask(`/v1/busy?calendarId=${String(published)}&${RANGE}`);
    expect(one.status).toBe(200);
    const busy = [
      { from: "2026-01-05T09:00:00.000Z", to: "2026-01-05T10:00:00.000Z" },
      { from: "2026-01-05T12:00:00.000Z", to: "2026-01-05T13:00:00.000Z" },
      { from: "2026-01-06T12:00:00.000Z", to: "2026-01-06T13:00:00.000Z" },
    ];
    expect(one.body).toMatchObject({
      schemaVersion: 1,
      busy,
      unknown: [],
      calendars: [
        { calendarId: published, freshness: { state: "fresh", generation: 1, pending: false } },
      ],
    });
    const many = await ask(`/v1/busy?${both}&${RANGE}`);
    // I11: never synced is unknown wherever nobody else is busy.
    expect(many.body).toMatchObject({
      busy,
      calendars: [
        { calendarId: published, unknown: [] },
        {
          calendarId: never,
          freshness: { state: "never", ageMs: null, syncedAt: null, generation: 0 },
          unknown: [{ reason: "never-synced" }],
        },
      ],
    });
    const posted = await ask("/v1/busy", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        calendarIds: [published],
        from: "2026-01-05T00:00:00Z",
        to: "2026-01-07T00:00:00Z",
      }),
    });
    expect(posted.body).toMatchObject({ busy, unknown: [] });
  });

  test("another's calendar beside one's own is unknown like one that is not there; alone it is not there", async () => {
    const own = String(world.inhabitants[0].calendars[0]);
    const theirs = String(world.inhabitants[1].calendars[0]);
    const beside = await ask(`/v1/busy?calendarId=${own}&calendarId=${theirs}&${RANGE}`);
    expect(beside.body).toMatchObject({
      unknown: [{ reason: "unknown-calendar" }, {}, {}, {}],
      calendars: [{ unknown: [] }, { calendarId: theirs, freshness: null, busy: [] }],
    });
    expect(await ask(`/v1/busy?calendarId=${theirs}&${RANGE}`)).toMatchObject({
      status: 404,
      body: { code: "unknown-calendar" },
    });
    expect(
      await ask(`/v1/busy?calendarId=${theirs}&${RANGE}`, { as: OPERATORS.read }),
    ).toMatchObject({ status: 200, body: { unknown: [] } });
  });

  test("events: occurrences page by page, each page once", async () => {
    const id = String(world.inhabitants[0].calendars[0]);
    const seen: unknown[] = [];
    let after = "";
    for (;;) {
      const { body } = await ask(`/v1/events?calendarId=${id}&${RANGE}&limit=1${after}`);
      seen.push(...(body["events"] as { readonly start: string }[]).map(({ start }) => start));
      if (body["next"] === null) break;
      after = `&after=${encodeURIComponent(body["next"] as string)}`;
    }
    expect(seen).toEqual([
      "2026-01-05T09:00:00.000Z",
      "2026-01-05T12:00:00.000Z",
      "2026-01-06T12:00:00.000Z",
    ]);
  });

  test("an answer that is still the answer is 304 with its age, and another one after a publish or a wish", async () => {
    const other = await openApiWorld();
    try {
      const as = await other.tokenOf("acme", ["read", "refresh"]);
      const id = String(other.inhabitants[0].calendars[0]);
      for (const path of [`/v1/busy?calendarId=${id}`, `/v1/events?calendarId=${id}`]) {
        const asked = `${path}&${RANGE}`;
        const first = await ask(asked, { as, of: other });
        const etag = String(first.headers.get("etag"));
        expect(etag).toMatch(/^W\/"[\w-]{22}"$/);
        expect(first.headers.get("cache-control")).toBe("private, no-cache");
        const again = await ask(asked, { as, of: other, headers: { "if-none-match": etag } });
        expect({ status: again.status, body: again.body }).toEqual({ status: 304, body: {} });
        expect(Number(again.headers.get("ballast-age-ms"))).toBeGreaterThanOrEqual(0);
        const longer = await ask(`${path}&from=2026-01-05T00:00:00Z&to=2026-01-09T00:00:00Z`, {
          as,
          of: other,
          headers: { "if-none-match": etag },
        });
        expect(longer.status).toBe(200);
      }
      const busy = `/v1/busy?calendarId=${id}&${RANGE}`;
      const etag = String((await ask(busy, { as, of: other })).headers.get("etag"));
      await ask("/v1/refresh", {
        method: "POST",
        as,
        of: other,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ calendarId: id }),
      });
      await expect
        .poll(async () => ask(busy, { as, of: other, headers: { "if-none-match": etag } }), {
          timeout: 60_000,
        })
        .toMatchObject({ status: 200, body: { calendars: [{ freshness: { pending: true } }] } });
    } finally {
      await other.close();
    }
  });
});

/** The ids of a list, one a page. */
async function ids(path: string, as?: string): Promise<unknown[]> {
  const [key = ""] = path.slice(4).split("?");
  const found: unknown[] = [];
  for (let after = ""; ;) {
    const { body } = await ask(`${path}${path.includes("?") ? "&" : "?"}limit=1${after}`, {
      as: as ?? token,
    });
    const page = body[key] as { readonly id: string }[];
    expect(page.length).toBeLessThanOrEqual(1);
    found.push(...page.map(({ id }) => id));
    if (body["next"] === null) return found;
    after = `&after=${encodeURIComponent(body["next"] as string)}`;
  }
}

describe("a copy that is too old for a question", () => {
  test("is refreshed while the asker waits; after the deadline the answer says that it is too old", async () => {
    const other = await openApiWorld({ refreshes: true });
    try {
      const as = await other.tokenOf("acme", ["read"]);
      const { calendars, word } = other.inhabitants[0];
      const [id] = calendars;
      if (id === undefined) throw new Error("no calendar");
      const busy = `/v1/busy?calendarId=${id}&${RANGE}&maxAgeMs=0`;
      const late = await ask(`${busy}&refreshDeadlineMs=1`, { as, of: other });
      expect(late).toMatchObject({
        status: 200,
        body: { unknown: [{ reason: "older-than-asked" }, {}, {}, {}] },
      });
      expect(await other.store.calendars.get(id)).toMatchObject({ dueClass: "interactive" });
      // Again and again: what was begun before the question came does not answer it.
      const answered = new AbortController();
      const waiting = ask(`${busy}&refreshDeadlineMs=15000`, { as, of: other }).finally(() => {
        answered.abort();
      });
      for (let version = 2; !answered.signal.aborted; version += 1) {
        await publishEvents(other.store, id, { word, version });
        await systemClock.sleep(100, new AbortController().signal);
      }
      const { body } = await waiting;
      expect(body).toMatchObject({ unknown: [] });
      const [{ freshness } = { freshness: { generation: 0 } }] = body["calendars"] as {
        readonly freshness: { readonly generation: number };
      }[];
      expect(freshness.generation).toBeGreaterThan(1);
    } finally {
      await other.close();
    }
  });
});

describe("limits", () => {
  test("a question about many calendars counts as many, and an operator's against the tenant", async () => {
    // Four reads a minute, a hundred times as many as wishes.
    const few = { token: 1e9, tenant: 0.04, consumer: 1e9 };
    const other = await openApiWorld({ limits: few });
    try {
      const [a, b] = other.inhabitants[0].calendars;
      const two = `/v1/busy?calendarId=${String(a)}&calendarId=${String(b)}&${RANGE}`;
      const as = await other.tokenOf("acme", ["read"]);
      const statuses = [];
      for (const path of [two, two, "/v1/tenants"]) {
        statuses.push((await ask(path, { as, of: other })).status);
      }
      expect(statuses).toEqual([200, 200, 429]);
      const asked = { as: OPERATORS.read, of: other };
      expect((await ask("/v1/tenants/acme", asked)).status).toBe(429);
      expect((await ask("/v1/tenants/globex", asked)).status).toBe(200);
    } finally {
      await other.close();
    }
  });
});

describe("lists", () => {
  test("a tenant's token sees its own, an operator's all or one tenant's, page by page", async () => {
    const [acme, globex, initech] = world.inhabitants;
    expect(await ids("/v1/tenants")).toEqual(["acme"]);
    expect(await ids("/v1/tenants", OPERATORS.read)).toEqual(["acme", "globex", "initech"]);
    expect(await ids("/v1/accounts")).toEqual([acme.account]);
    expect(await ids("/v1/accounts", OPERATORS.read)).toEqual(
      [acme, globex, initech].map(({ account }) => account).toSorted(),
    );
    expect(await ids("/v1/calendars")).toEqual(acme.calendars.toSorted());
    expect(await ids("/v1/calendars?tenant=globex", OPERATORS.read)).toEqual(
      globex.calendars.toSorted(),
    );
    expect(await ids(`/v1/calendars?accountId=${globex.account}`, OPERATORS.read)).toEqual(
      globex.calendars.toSorted(),
    );
    expect(await ids("/v1/calendars?state=never")).toEqual([acme.calendars[1]]);
  });

  test("a tenant, an account and a calendar one by one", async () => {
    const { account, calendars } = world.inhabitants[0];
    expect((await ask("/v1/tenants/acme")).body).toMatchObject({ tenant: { id: "acme" } });
    expect((await ask(`/v1/accounts/${account}`)).body).toMatchObject({
      account: { id: account, tenant: "acme", state: "connected", by: "refresh-token" },
    });
    expect((await ask(`/v1/calendars/${String(calendars[0])}`)).body).toMatchObject({
      calendar: { id: calendars[0], accountId: account, freshness: { state: "fresh" } },
    });
  });
});

function connect(body: object): Promise<Told> {
  return ask("/v1/accounts", {
    method: "POST",
    as: OPERATORS.operate,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

describe("accounts", () => {
  test("are connected by a refresh token, which comes back in no answer, and again with the same id", async () => {
    const body = { tenant: "umbrella", account: "ann", refreshToken: "1//secret-token" };
    const first = await connect(body);
    const again = await connect({ ...body, refreshToken: "1//secret-token-2" });
    expect(first.status).toBe(201);
    expect(first.body).toMatchObject({ account: { tenant: "umbrella", state: "connected" } });
    expect(again.body["account"]).toMatchObject({
      id: (first.body["account"] as { readonly id: string }).id,
    });
    const refused = await connect({ ...body, refreshToken: "1// secret-token" });
    expect(refused).toMatchObject({ status: 400, body: { code: "invalid-body" } });
    expect(JSON.stringify([first, again, refused])).not.toContain("secret-token");
  });

  test("have an address of Google's page to connect them again", async () => {
    const { account } = world.inhabitants[0];
    const back = encodeURIComponent("https://app.example/back?a=b");
    const { status, body } = await ask(
      `/v1/accounts/${account}/reconnect-url?redirectUri=${back}&state=12345678`,
    );
    expect(status).toBe(200);
    const url = new URL(String(body["url"]));
    expect(url.origin + url.pathname).toBe("https://accounts.example/auth");
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      client_id: "client",
      redirect_uri: "https://app.example/back?a=b",
      state: "12345678",
      access_type: "offline",
      scope: "openid https://www.googleapis.com/auth/calendar.readonly",
    });
    const odd = encodeURIComponent("javascript:alert(1)");
    const refused = await ask(
      `/v1/accounts/${account}/reconnect-url?redirectUri=${odd}&state=12345678`,
    );
    expect(refused).toMatchObject({ status: 400, body: { code: "invalid-parameter" } });
  });
});
