import { createHash } from "node:crypto";
import { connect } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { AccountRow } from "../../src/core/account-store.ts";
import type { CalendarRow } from "../../src/core/calendar-store.ts";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import { accountId, calendarId, googleCalendarId, tenantId } from "../../src/core/ids.ts";
import { StoreUnavailable } from "../../src/core/refusal.ts";
import {
  createHttpServer,
  HttpAddressRefused,
  type HttpServer,
  type HttpServerDeps,
  type HttpServerOptions,
} from "../../src/http/create-http-server.ts";
import type { StatusView } from "../../src/http/status-view.ts";
import { unaskedApi } from "../support/unasked-api.ts";

const TOKEN = "a-token-of-the-booking-service";
const READ_ONLY = "a-token-that-may-only-read";
const hash = (token: string): string => createHash("sha256").update(token).digest("hex");

const status = {
  schemaVersion: 1,
  verdict: "degraded",
  sentence: "1 of 3 calendars is <stale>.",
  calendars: { total: 3, never: 0, fresh: 2, stale: 1, slowed: 0, lost: 0, paused: 0 },
  at: epochMs(1_767_614_400_000),
  quota: {
    minute: { limit: 10_000, used: 1_234 },
    day: { limit: 1_000_000, used: 5 },
    retryTokens: 99.5,
  },
  retryShare: 0.02,
  breakers: [],
  backlog: { interactive: 0, push: 0, poll: 1, backfill: 0 },
  push: {
    watched: 2,
    unwatched: 0,
    unwatchable: 1,
    opening: 0,
    stopping: 0,
    expiring: 0,
    silentReplaced: 0,
    silent: 0,
  },
  deadLetters: 0,
} as const satisfies StatusView;

const options: HttpServerOptions = {
  host: "127.0.0.1",
  port: 0,
  tokens: [
    { name: "booking-api", scopes: ["refresh"], sha256: hash(TOKEN) },
    { name: "viewer", scopes: ["read"], sha256: hash(READ_ONLY) },
  ],
  limits: { token: 20, tenant: 20, consumer: 20 },
  closeWithinMs: 500,
};

const asked: string[] = [];
const lines: { readonly message: string; readonly fields: unknown }[] = [];
const logger: HttpServerDeps["logger"] = {
  log: (_level, message, fields) => {
    lines.push({ message, fields });
  },
  with: () => logger,
};
const deps: HttpServerDeps = {
  ...unaskedApi,
  clock: systemClock,
  logger,
  readiness: () => Promise.resolve([]),
  status: () => Promise.resolve(status),
  metrics: {
    contentType: "text/plain; version=0.0.4",
    render: () => Promise.resolve("ballast_up 1\n"),
  },
  notifications: {
    isOurs: () => false,
    channels: { calendarOf: () => undefined },
    recorder: { record: () => Promise.resolve("not-kept"), close: () => Promise.resolve() },
    onNotification: () => undefined,
  },
  recorder: {
    record: ({ calendarId: id }) => {
      asked.push(String(id));
      if (id === "cal_broken") throw new Error("secret of the driver: /var/lib/ballast.db");
      if (id === "cal_waiting") {
        throw new StoreUnavailable({ message: "gone", retryAfterMs: 2_500 });
      }
      if (id === "cal_paused") return Promise.resolve({ kind: "not-refreshable" });
      return Promise.resolve({ kind: "marked", mark: 7 });
    },
    close: () => Promise.resolve(),
  },
  tokens: {
    find: () => Promise.resolve([]),
    noteUsed: () => Promise.resolve(),
    hasUsable: () => Promise.resolve(false),
  },
  calendars: {
    get: (id) =>
      Promise.resolve(
        id === "cal_9" ? undefined : ({ id, tenantId: tenantId("acme") } as CalendarRow),
      ),
    list: ({ googleId }) =>
      Promise.resolve(
        [
          { id: calendarId("cal_0"), googleId: googleCalendarId("Team@example.com") },
          { id: calendarId("cal_1"), googleId: googleCalendarId("team@example.com") },
        ].filter((row) => row.googleId === googleId) as CalendarRow[],
      ),
  },
  accounts: {
    ...unaskedApi.accounts,
    find: (tenant, name) =>
      Promise.resolve(
        tenant === "acme" && name === "ada"
          ? ({ id: accountId("acc_1") } as AccountRow)
          : undefined,
      ),
  },
};

const servers: HttpServer[] = [];
async function start(
  changes: Partial<HttpServerOptions> = {},
  otherDeps: Partial<HttpServerDeps> = {},
): Promise<string> {
  const server = await createHttpServer({ ...options, ...changes }, { ...deps, ...otherDeps });
  servers.push(server);
  return server.url;
}

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  asked.length = 0;
  lines.length = 0;
});

const refresh = (
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> =>
  fetch(`${url}/v1/refresh`, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}`, ...headers },
  });

describe("what anyone on this machine may see", () => {
  test("a living process says so, and says that it is ready when nothing is wrong", async () => {
    const url = await start();
    expect(await (await fetch(`${url}/livez`)).json()).toEqual({ status: "alive" });
    const ready = await fetch(`${url}/readyz`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toEqual({ status: "ready", problems: [] });
  });

  test("a process whose database is gone is not ready, says why, and still lives", async () => {
    const problems = [{ name: "database", reason: "connection refused" }];
    const url = await start({}, { readiness: () => Promise.resolve(problems) });
    const ready = await fetch(`${url}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toEqual({ status: "not ready", problems });
    expect((await fetch(`${url}/livez`)).status).toBe(200);
  });

  test("metrics come as the registry writes them", async () => {
    const answer = await fetch(`${await start()}/metrics`);
    expect(answer.headers.get("content-type")).toContain("version=0.0.4");
    expect(await answer.text()).toBe("ballast_up 1\n");
  });

  test("the status shows figures, and nothing that a status may hold besides them", async () => {
    const withTenants = { ...status, pauses: [{ tenant: "acme" }] };
    const url = await start({}, { status: () => Promise.resolve(withTenants) });
    const text = await (await fetch(`${url}/status.json`)).text();
    expect(JSON.parse(text)).toEqual(status);
    expect(text).not.toContain("acme");
  });

  test("the page shows the verdict escaped, without a script and with a policy that allows none", async () => {
    const url = await start();
    const answer = await fetch(url);
    const page = await answer.text();
    expect(page).toContain("1 of 3 calendars is &lt;stale&gt;.");
    expect(page).toContain("2 of 3 calendars");
    expect(page).toContain("1,234 of 10,000");
    expect(page).toContain('http-equiv="refresh"');
    expect(page).not.toMatch(/<script|<style|style=|onload=/);
    expect(answer.headers.get("content-security-policy")).toBe(
      "default-src 'none';style-src 'self';base-uri 'none';form-action 'none';frame-ancestors 'none'",
    );
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    expect((await fetch(`${url}/style.css`)).headers.get("content-type")).toContain("text/css");
  });

  test("what is not known is said, in the figures and on the page", async () => {
    const blind = { ...status, calendars: undefined, quota: undefined, backlog: undefined };
    const url = await start({}, { status: () => Promise.resolve(blind) });
    const figures: unknown = await (await fetch(`${url}/status.json`)).json();
    expect(figures).toMatchObject({ calendars: null, quota: null, backlog: null });
    const page = await (await fetch(url)).text();
    expect(page).toContain("The database cannot be read.");
    expect(page).toContain("cannot be asked");
  });

  test("many readers within a second are one read of the database", async () => {
    let reads = 0;
    const counted = (): Promise<typeof status> => {
      reads += 1;
      return Promise.resolve(status);
    };
    const url = await start({}, { status: counted });
    await Promise.all(Array.from({ length: 20 }, () => fetch(`${url}/status.json`)));
    expect(reads).toBeLessThanOrEqual(2);
  });
});

describe("asking for a refresh", () => {
  test("a token with the scope marks a calendar by Ballast's id", async () => {
    const answer = await refresh(await start(), { calendarId: "cal_1" });
    expect(answer.status).toBe(202);
    expect(await answer.json()).toEqual({
      schemaVersion: 1,
      calendarId: "cal_1",
      outcome: "marked",
      mark: 7,
    });
    expect(asked).toEqual(["cal_1"]);
  });

  test("a Google id is found within its account, by case", async () => {
    const target = { tenant: "acme", account: "ada", googleCalendarId: "team@example.com" };
    expect((await refresh(await start(), target)).status).toBe(202);
    expect(asked).toEqual(["cal_1"]);
  });

  test.each([
    ["no token", { authorization: "" }, 401, "token-missing"],
    ["a wrong token", { authorization: "Bearer wrong" }, 401, "token-unknown"],
    ["a token without the scope", { authorization: `Bearer ${READ_ONLY}` }, 403, "scope-missing"],
    ["another media type", { "content-type": "text/plain" }, 415, "unsupported-media-type"],
  ])("%s is refused before anything is asked", async (_case, headers, ...[code, name]) => {
    const answer = await refresh(await start(), { calendarId: "cal_1" }, headers);
    expect(answer.status).toBe(code);
    expect(answer.headers.get("content-type")).toContain("application/problem+json");
    expect(await answer.json()).toMatchObject({ code: name, status: code });
    expect(answer.headers.get("www-authenticate")).toBe(code === 401 ? "Bearer" : null);
    expect(asked).toEqual([]);
  });

  test.each([
    ["garbage", "{not json", 400, "invalid-body"],
    ["an empty body", "", 400, "invalid-body"],
    ["a malformed id", { calendarId: "team@example.com" }, 400, "invalid-body"],
    ["a field too many", { calendarId: "cal_1", force: true }, 400, "invalid-body"],
    ["an unknown calendar", { calendarId: "cal_9" }, 404, "unknown-calendar"],
    [
      "an unknown account",
      { tenant: "acme", account: "bob", googleCalendarId: "x" },
      404,
      "unknown-calendar",
    ],
    [
      "an unknown Google id",
      { tenant: "acme", account: "ada", googleCalendarId: "TEAM@example.com" },
      404,
      "unknown-calendar",
    ],
    ["a paused calendar", { calendarId: "cal_paused" }, 409, "calendar-not-refreshable"],
    ["70,000 bytes", { calendarId: "x".repeat(70_000) }, 413, "body-too-large"],
  ])("%s is answered with a problem", async (_case, body, ...[code, name]) => {
    const answer = await refresh(await start(), body);
    expect(await answer.json()).toMatchObject({ code: name, status: code });
    expect(answer.status).toBe(code);
  });

  test("a database that is gone is 503 with the time to wait", async () => {
    const answer = await refresh(await start(), { calendarId: "cal_waiting" });
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toBe("3");
    expect(await answer.json()).toMatchObject({ code: "store-unavailable" });
  });

  test("a bug of ours tells the caller an id and the log the reason", async () => {
    const answer = await refresh(
      await start(),
      { calendarId: "cal_broken" },
      { "x-request-id": "r-1" },
    );
    const text = await answer.text();
    expect(answer.status).toBe(500);
    expect(JSON.parse(text)).toMatchObject({ code: "internal", requestId: "r-1" });
    expect(text).not.toContain("/var/lib");
    expect(text).not.toContain("create-http-server");
    expect(lines).toHaveLength(1);
    expect(lines[0]?.fields).toMatchObject({ requestId: "r-1", route: "/v1/refresh" });
  });

  test("a token that asks too often is told when to come back, and others are not held up", async () => {
    const url = await start({
      limits: { token: 2, tenant: 20, consumer: 20 },
      tokens: [...options.tokens, { name: "other", scopes: ["refresh"], sha256: hash("other") }],
    });
    const codes = [];
    for (let turn = 0; turn < 3; turn += 1) {
      codes.push((await refresh(url, { calendarId: "cal_1" })).status);
    }
    expect(codes).toEqual([202, 202, 429]);
    const refused = await refresh(url, { calendarId: "cal_1" });
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ code: "too-many-requests" });
    const other = await refresh(url, { calendarId: "cal_1" }, { authorization: "Bearer other" });
    expect(other.status).toBe(202);
  });
});

describe("the server itself", () => {
  test("an unknown route is a problem with the request's id", async () => {
    const answer = await fetch(`${await start()}/v1/nothing`);
    expect(answer.status).toBe(404);
    const body = (await answer.json()) as { readonly code: string; readonly requestId: string };
    expect(body.code).toBe("route-unknown");
    expect(body.requestId).toBe(answer.headers.get("x-request-id"));
  });

  test("a request id that could forge a log line is not taken over", async () => {
    const answer = await fetch(`${await start()}/livez`, { headers: { "x-request-id": "a b{}" } });
    expect(answer.headers.get("x-request-id")).toMatch(/^[\da-f-]{36}$/);
  });

  test("an address that others can reach is refused while nobody has a token", async () => {
    const refused = createHttpServer({ ...options, host: "0.0.0.0", tokens: [] }, deps);
    await expect(refused).rejects.toThrow(HttpAddressRefused);
    await expect(refused).rejects.toThrow(/BALLAST_API_TOKENS.*ballast tokens create/s);
  });

  test("a tenant's token alone is enough for an address that others can reach", async () => {
    const tokens = { ...deps.tokens, hasUsable: () => Promise.resolve(true) };
    // No machine has this address: it gets as far as listening.
    const refused = createHttpServer(
      { ...options, host: "192.0.2.1", tokens: [] },
      { ...deps, tokens },
    );
    await expect(refused).rejects.toMatchObject({ code: "BALLAST_HTTP_ADDRESS_UNUSABLE" });
  });

  test("a port that is taken is named, with what to change", async () => {
    const port = Number(new URL(await start()).port);
    const refused = createHttpServer({ ...options, port }, deps);
    await expect(refused).rejects.toThrow(new RegExp(`${String(port)}.*BALLAST_HTTP_PORT`, "s"));
  });

  test("closing answers what is in hand and cuts off a client that never finishes", async () => {
    const hold = Promise.withResolvers<typeof status>();
    const begun = Promise.withResolvers<boolean>();
    const slow = (): Promise<typeof status> => {
      begun.resolve(true);
      return hold.promise;
    };
    const server = await createHttpServer(options, { ...deps, status: slow });
    const { port } = new URL(server.url);
    const idler = connect(Number(port), "127.0.0.1");
    const idlerEnded = new Promise<boolean>((resolve) => {
      idler.once("close", () => {
        resolve(true);
      });
      idler.on("error", () => {
        resolve(true);
      });
    });
    idler.resume();
    idler.write("POST /v1/refresh HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n");
    const answer = fetch(`${server.url}/status.json`);
    await begun.promise;
    const closed = server.close();
    hold.resolve(status);
    expect((await answer).status).toBe(200);
    await closed;
    expect(await idlerEnded).toBe(true);
    await expect(fetch(`${server.url}/livez`)).rejects.toThrow("fetch failed");
  });
});
