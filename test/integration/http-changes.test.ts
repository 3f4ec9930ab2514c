import { afterEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { encodeCursor } from "../../src/core/change-wire.ts";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import { tenantId } from "../../src/core/ids.ts";
import { openStore } from "../../src/store/open-store.ts";
import { createVault } from "../../src/store/vault.ts";
import { openApiWorld, OPERATORS, type ApiWorld } from "../scenarios/isolation/api-world.ts";

vi.setConfig({ testTimeout: 90_000 });

const closing: ApiWorld[] = [];
afterEach(async () => {
  for (const world of closing.splice(0)) await world.close();
});

async function open(): Promise<ApiWorld> {
  const world = await openApiWorld();
  closing.push(world);
  return world;
}

const pageSchema = z.object({
  changes: z.array(z.looseObject({ kind: z.string() })),
  next: z.string(),
  more: z.boolean(),
});

async function ask(
  world: ApiWorld,
  query: string,
  token: string = OPERATORS.all,
): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> {
  const response = await fetch(`${world.server.url}/v1/changes${query}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

async function page(
  world: ApiWorld,
  query: string,
  token?: string,
): Promise<z.output<typeof pageSchema>> {
  const { status, body } = await ask(world, query, token);
  expect(status).toBe(200);
  return pageSchema.parse(body);
}

/** A refresh that finds two events changed. */
async function change({ store, inhabitants }: ApiWorld, summary: string): Promise<void> {
  const [id] = inhabitants[0].calendars;
  if (id === undefined) throw new Error("No calendar");
  const now = systemClock.now();
  const later = epochMs(now + 600_000);
  await store.calendars.request(id, { class: "poll", dueAt: now });
  const begun = await store.refreshes.begin(id, { now, until: later });
  if (begun.kind !== "begun") throw new Error(begun.kind);
  const start = { dateTime: "2026-01-05T10:00:00Z" };
  const end = { dateTime: "2026-01-05T11:00:00Z" };
  await store.refreshes.publish(begun.lease, {
    kind: "incremental",
    isFirst: true,
    startedAt: now,
    items: ["series", "single"].map((eventId) => ({ id: eventId, summary, start, end })),
    syncToken: "token",
    queryFingerprint: "query",
    timeZone: undefined,
    accessRole: undefined,
    served: begun.state.requested,
    nextPoll: { dueAt: later, reason: "poll" },
    now,
  });
}

describe("GET /v1/changes", () => {
  test("says where to begin, and goes on from there in bounded pages", async () => {
    const world = await open();
    const token = await world.tokenOf("acme", ["read"]);
    const begin = await page(world, "", token);
    expect(begin).toMatchObject({ changes: [], more: false });
    expect(await page(world, `?after=${begin.next}`, token)).toEqual(begin);
    await change(world, "second");
    const first = await page(world, `?after=${begin.next}&limit=1`, token);
    expect(first).toMatchObject({ changes: [{ kind: "event-updated" }], more: true });
    const rest = await page(world, `?after=${first.next}`, token);
    expect(rest.changes).toMatchObject([
      {
        kind: "event-updated",
        eventId: "single",
        calendarId: world.inhabitants[0].calendars[0],
        accountId: world.inhabitants[0].account,
        generation: 2,
      },
    ]);
    // An operator names the tenant; the same cursor.
    expect(await page(world, `?tenant=acme&after=${first.next}`)).toEqual(rest);
    expect(await ask(world, "")).toMatchObject({
      status: 400,
      body: { code: "invalid-parameter" },
    });
  });

  test("another tenant's cursor is refused, and so is another tenant", async () => {
    const world = await open();
    const token = await world.tokenOf("acme", ["read"]);
    const { next } = await page(world, "?tenant=globex");
    expect(await ask(world, `?after=${next}`, token)).toMatchObject({
      status: 400,
      body: { code: "bad-cursor" },
    });
    expect(await ask(world, "?tenant=globex", token)).toMatchObject({
      status: 404,
      body: { code: "unknown-tenant" },
    });
  });

  test("what was forgotten is said, with the cursor to go on from", async () => {
    const world = await open();
    const token = await world.tokenOf("acme", ["read"]);
    const after = encodeCursor(tenantId("acme"), 0);
    await world.store.changes.forget(epochMs(systemClock.now() + 1), 10_000);
    const { status, body } = await ask(world, `?after=${after}`, token);
    expect(status).toBe(410);
    expect(body).toMatchObject({ code: "changes-forgotten" });
    await change(world, "later");
    const { changes } = await page(world, `?after=${String(body["next"])}`, token);
    expect(changes.length).toBeGreaterThan(0);
  });

  test("with wait, an empty answer is held back until something changes, here or in another process", async () => {
    const world = await open();
    const token = await world.tokenOf("acme", ["read"]);
    const begin = await page(world, "", token);
    const here = page(world, `?after=${begin.next}&wait=15`, token);
    await vi.waitFor(() => expect(world.waitingForChanges()).toBe(1), { timeout: 60_000 });
    await change(world, "second");
    const told = await here;
    expect(told.changes.length).toBe(2);

    // Another tenant's news wakes nobody, another process' is found.
    const there = page(world, `?after=${told.next}&wait=15`, token);
    await vi.waitFor(() => expect(world.waitingForChanges()).toBe(1), { timeout: 60_000 });
    const beside = await openStore(
      { url: world.databaseUrl, mirror: "full", migrateWhenEmpty: false },
      { clock: systemClock, vault: createVault([{ id: "test", key: new Uint8Array(32).fill(7) }]) },
    );
    const by = { actor: "olga", now: systemClock.now() };
    await beside.accounts.setOperatorPause(world.inhabitants[1].account, { reason: "hold" }, by);
    await beside.accounts.setOperatorPause(world.inhabitants[0].account, { reason: "hold" }, by);
    expect((await there).changes).toMatchObject([
      { kind: "account-paused", state: "paused", reason: "hold" },
    ]);
    await beside.close();
  });

  test("nothing new: the wait ends by its time, with the same cursor", async () => {
    const world = await open();
    const { next } = await page(world, "?tenant=acme");
    expect(await page(world, `?tenant=acme&after=${next}&wait=1`)).toEqual({
      changes: [],
      next,
      more: false,
    });
    expect((await ask(world, `?tenant=acme&after=${next}&wait=16`)).status).toBe(400);
  });

  test("a token may have five requests waiting, and not one more", async () => {
    const world = await open();
    const token = await world.tokenOf("acme", ["read"]);
    const { next } = await page(world, "", token);
    const query = `?after=${next}&wait=15`;
    const waiting = [1, 2, 3, 4, 5].map(() => page(world, query, token));
    await vi.waitFor(() => expect(world.waitingForChanges()).toBe(5), { timeout: 60_000 });
    expect(await ask(world, query, token)).toMatchObject({
      status: 429,
      body: { code: "too-many-requests" },
    });
    const other = page(world, query, await world.tokenOf("acme", ["read"]));
    await vi.waitFor(() => expect(world.waitingForChanges()).toBe(6), { timeout: 60_000 });
    await change(world, "second");
    for (const { changes } of await Promise.all([...waiting, other]))
      expect(changes).toHaveLength(2);
    expect(world.waitingForChanges()).toBe(0);
  });

  test("who waits when the process stops is answered first", async () => {
    const world = await openApiWorld();
    const token = await world.tokenOf("acme", ["read"]);
    const { next } = await page(world, "", token);
    const waiting = page(world, `?after=${next}&wait=15`, token);
    await vi.waitFor(() => expect(world.waitingForChanges()).toBe(1), { timeout: 60_000 });
    await world.close();
    expect(await waiting).toEqual({ changes: [], next, more: false });
  });

  test("who goes away waits no longer", async () => {
    const world = await open();
    const token = await world.tokenOf("acme", ["read"]);
    const { next } = await page(world, "", token);
    const leaving = new AbortController();
    const gone = fetch(`${world.server.url}/v1/changes?after=${next}&wait=15`, {
      headers: { authorization: `Bearer ${token}` },
      signal: leaving.signal,
    });
    await vi.waitFor(() => expect(world.waitingForChanges()).toBe(1), { timeout: 60_000 });
    leaving.abort();
    await expect(gone).rejects.toThrow("aborted");
    await vi.waitFor(() => expect(world.waitingForChanges()).toBe(0), { timeout: 60_000 });
  });
});

describe("GET /v1/calendars/ID/copy", () => {
  test("is what the changes tell of: all of it page by page, or the events that are named", async () => {
    const world = await open();
    const token = await world.tokenOf("acme", ["read"]);
    const [published, never] = world.inhabitants[0].calendars;
    const read = async (id: string, query: string): Promise<z.output<typeof copySchema>> => {
      const response = await fetch(`${world.server.url}/v1/calendars/${id}/copy${query}`, {
        headers: { authorization: `Bearer ${token}` },
      });
      expect(response.status).toBe(200);
      return copySchema.parse(await response.json());
    };
    const first = await read(String(published), "?limit=1");
    expect(first).toMatchObject({ events: [{ id: "series" }], freshness: { generation: 1 } });
    const rest = await read(String(published), `?limit=1&after=${String(first.next)}`);
    expect(rest).toMatchObject({ events: [{ id: "single" }], next: null });
    const named = await read(String(published), "?eventId=single&eventId=gone");
    expect(named.events).toMatchObject([{ id: "single", status: "confirmed" }]);
    // I11: nothing is known of it, and its generation says so.
    expect(await read(String(never), "")).toMatchObject({
      events: [],
      freshness: { state: "never", generation: 0 },
    });
  });
});

const copySchema = z.object({
  events: z.array(z.looseObject({ id: z.string() })),
  freshness: z.looseObject({ generation: z.number() }),
  next: z.string().nullable(),
});

describe("a tenant's webhook over the API", () => {
  test("is set by an operator, shown without its secret, and removed", async () => {
    const world = await open();
    const path = `${world.server.url}/v1/tenants/acme/webhook`;
    const as = (token: string, init: { method?: string; body?: string } = {}): Promise<Response> =>
      fetch(path, {
        ...init,
        headers: {
          authorization: `Bearer ${token}`,
          ...(init.body === undefined ? {} : { "content-type": "application/json" }),
        },
      });
    const set = (url: string): Promise<Response> =>
      as(OPERATORS.all, {
        method: "POST",
        body: JSON.stringify({ url }),
      });
    expect((await set("https://169.254.169.254/")).status).toBe(400);
    const made = await set("https://app.example/hook");
    expect(made.status).toBe(201);
    const { secret } = z.object({ secret: z.string() }).parse(await made.json());
    expect(secret).toMatch(/^whsec_/);
    const token = await world.tokenOf("acme", ["read"]);
    const shown = await as(token);
    const text = await shown.text();
    expect(JSON.parse(text)).toMatchObject({
      webhook: { url: "https://app.example/hook", state: "active", retryAt: null },
    });
    expect(text).not.toContain(secret);
    expect((await as(token, { method: "DELETE" })).status).toBe(403);
    expect((await as(OPERATORS.all, { method: "DELETE" })).status).toBe(200);
    expect((await as(token)).status).toBe(404);
  });
});
