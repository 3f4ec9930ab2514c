import { describe, expect, test } from "vitest";
import { consumer, projectId, tenantId, type AccountId } from "../../src/core/ids.ts";
import {
  BeingRemoved,
  type AccountReleased,
  type RemovalLease,
  type RemovalRow,
  type RemovalTarget,
} from "../../src/core/removal-store.ts";
import { makeApiToken } from "../../src/core/token-store.ts";
import { findLeftovers, readStoredRows, type StoredRow } from "../support/stored-rows.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import {
  event,
  LEASE_MS,
  listEntry,
  must,
  openTestStore,
  type TestStore,
} from "./store-fixture.ts";

/** The operator log keeps what was done, by our ids and the tenant's name. */
const RECORD = "operator_log";

/** Tenants, accounts and calendars that go, and what is left of them. */
export function removalConformance(freshDatabase: FreshDatabase): void {
  describe("a removal", () => {
    test("of a tenant leaves no row of it in any table, and every row of others", async () => {
      const store = await openTestStore(await freshDatabase());
      await fill(store, "acme");
      const rivalsBefore = await (async () => {
        await fill(store, "rival");
        return (await readStoredRows(store.url)).filter(({ text }) => text.includes("rival"));
      })();
      const numbers = numbersOf(await readStoredRows(store.url), "acme");
      expect(numbers.length).toBe(2);

      const asked = await ask(store, { kind: "tenant", tenantId: tenantId("acme") });
      expect(await runToEnd(store, asked)).toMatchObject({ channelsLeft: 2 });

      const rows = (await readStoredRows(store.url)).filter(({ table }) => table !== RECORD);
      expect(findLeftovers(rows, { texts: ["acme"], numbers })).toEqual([]);
      expect(rows.filter(({ text }) => text.includes("rival")).length).toBeGreaterThanOrEqual(
        rivalsBefore.filter(({ table }) => table !== RECORD).length,
      );
      // Who used the quota is a sum that stays true.
      const used = await store.usage.totals({
        projectId: projectId("default"),
        since: store.now(),
        by: "minute",
        limit: 10,
      });
      expect(used.reduce((sum, { requests }) => sum + requests, 0)).toBe(14);
      expect(await store.removals.list(10)).toEqual([]);
      const [entry] = await store.operatorLog.list({ limit: 1 });
      expect(entry).toMatchObject({ action: "tenant.removed", subject: "acme", reason: "over" });
    });

    test("serves nothing, claims nothing and asks for nothing from the moment it is marked", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account, calendars } = await fill(store, "acme");
      const id = must(calendars[0]);
      await store.calendars.request(id, { class: "interactive", dueAt: store.now() });
      const { lease } = await store.begin(id);
      const asked = await ask(store, { kind: "tenant", tenantId: tenantId("acme") });
      await markAll(store, asked);

      expect(await store.publish(lease, { items: [event("late")] })).toEqual({
        kind: "fenced-out",
      });
      expect(await store.calendars.get(id)).toBeUndefined();
      expect(await store.calendars.list({ limit: 10 })).toEqual([]);
      expect(await store.events.readFacts([id], store.now())).toEqual([]);
      expect(await store.events.readEvents(id, { limit: 1 }, store.now())).toEqual({
        kind: "unknown-calendar",
      });
      const wish = { calendarId: id, class: "interactive", dueAt: store.now() } as const;
      expect(await store.calendars.requestMany([wish])).toEqual([{ kind: "unknown-calendar" }]);
      await store.clock.advance(LEASE_MS * 100);
      const claim = { now: store.now(), limit: 10, perTenant: 10, queuedForMs: 1_000 };
      expect(await store.calendars.claimDue(claim)).toEqual([]);
      expect(await store.channels.claimWatches(claim)).toEqual([]);
      expect(await store.accounts.claimDueDiscoveries(claim)).toEqual([]);
      expect(await store.accounts.get(account.id)).toMatchObject({ state: "removed" });
      expect(await store.credentials.read(account.id)).toBeUndefined();
      const pause = { reason: "late" };
      expect(await store.accounts.setOperatorPause(account.id, pause, BY(store))).toBe(
        "unknown-account",
      );
      expect(await store.leavingCredentials.read(account.id)).toMatchObject({
        grant: { refreshToken: "refresh-token-of-acme-ann" },
      });
      const { id: tokenId, sha256 } = makeApiToken(store.now());
      const token = { id: tokenId, sha256, name: "late", scopes: [], tenantId: tenantId("acme") };
      const by = { actor: "olga", now: store.now() };
      expect(await store.tokens.create(token, by)).toBe("unknown-tenant");
      await expect(store.connect("acme", "new", [])).rejects.toThrow(BeingRemoved);
      await expect(store.connect("acme", "acme-ann", [])).rejects.toThrow(/being removed/);
    });

    test("of an account is told in the feed, leaves the tenant's others, and ends; then it may come back", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account, calendars } = await fill(store, "acme");
      const kept = await store.connect("acme", "kept", ["kept@example.test"]);
      const asked = await ask(store, { kind: "account", accountId: account.id });
      await expect(store.connect("acme", "acme-ann", [])).rejects.toThrow(BeingRemoved);
      const again = await store.removals.ask({ kind: "account", accountId: account.id }, BY(store));
      expect(again).toMatchObject({ kind: "asked-before", removal: { id: asked.id } });
      await runToEnd(store, asked);

      expect(await store.accounts.get(account.id)).toBeUndefined();
      expect(await store.calendars.list({ limit: 10 })).toMatchObject([{ id: kept.calendars[0] }]);
      const read = await store.changes.read(tenantId("acme"), { after: 0, limit: 100 });
      const told = read.kind === "changes" ? read.changes : [];
      expect(told).toContainEqual(
        expect.objectContaining({ kind: "calendar-removed", calendarId: calendars[0] }),
      );
      expect(told).toContainEqual(
        expect.objectContaining({ kind: "account-removed", accountId: account.id }),
      );
      const rows = await readStoredRows(store.url);
      const left = rows.filter(({ table }) => table !== RECORD && table !== "changes");
      expect(findLeftovers(left, { texts: [account.id, "acme-ann"], numbers: [] })).toEqual([]);
      const back = await store.connect("acme", "acme-ann", ["ann@acme.test"]);
      expect(back.account.id).not.toBe(account.id);
    });

    test("of a calendar keeps its account connected, which does not find it again", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account, calendars } = await store.connect("acme", "ann", ["a@x.test", "b@x.test"]);
      const gone = must(calendars[0]);
      await store.refresh(gone, { items: [event("secret")] });
      const asked = await ask(store, { kind: "calendar", calendarId: gone });
      await runToEnd(store, asked);
      await store.discover(account.id, { entries: [listEntry("a@x.test"), listEntry("b@x.test")] });

      expect(await store.calendars.list({ limit: 10 })).toMatchObject([{ id: calendars[1] }]);
      expect(await store.credentials.read(account.id)).toBeDefined();
      const rows = await readStoredRows(store.url);
      expect(findLeftovers(rows, { texts: ["secret", "a@x.test"], numbers: [] })).toEqual([]);
    });

    test("is taken over when its worker dies, and the one that died is fenced out", async () => {
      const store = await openTestStore(await freshDatabase());
      await fill(store, "acme");
      const asked = await ask(store, { kind: "tenant", tenantId: tenantId("acme") });
      await markAll(store, asked);
      const dead = must(await begin(store, asked.id));
      await releaseAll(store, dead);
      expect(await store.removals.eraseSome(dead, 1)).toBeGreaterThan(0);
      expect(await store.removals.claimDue(CLAIM(store))).toBeUndefined();
      await store.clock.advance(LEASE_MS + 1);
      expect(await store.removals.claimDue(CLAIM(store))).toBe(asked.id);
      await runToEnd(store, asked);
      expect(await store.removals.eraseSome(dead, 1)).toBe("fenced-out");
      expect(await store.removals.finish(dead, END(store))).toBe("fenced-out");
    });

    test("does not revoke a consent that another tenant's account lives on", async () => {
      const store = await openTestStore(await freshDatabase());
      const mine = await store.connect("acme", "ann", []);
      const theirs = await store.connect("rival", "ann", []);
      for (const { account } of [mine, theirs]) {
        const primary = listEntry("ann@x.test", { isPrimary: true });
        await store.discover(account.id, { entries: [primary] });
      }
      const asked = await ask(store, { kind: "tenant", tenantId: tenantId("acme") });
      await markAll(store, asked);
      const page = { after: undefined, limit: 10 };
      const mineLeaves = must(await begin(store, asked.id));
      expect(await store.removals.beginReleases(mineLeaves, page)).toMatchObject([
        { accountId: mine.account.id, revocation: "shared" },
      ]);
      const both = await ask(store, { kind: "account", accountId: theirs.account.id });
      const bothLeave = must(await begin(store, both.id));
      expect(await store.removals.beginReleases(bothLeave, page)).toMatchObject([
        { accountId: theirs.account.id, revocation: "wanted" },
      ]);
    });

    test("is previewed, and refuses what is not there", async () => {
      const store = await openTestStore(await freshDatabase());
      await fill(store, "acme");
      const acme = { kind: "tenant", tenantId: tenantId("acme") } as const;
      expect(await store.removals.preview(acme)).toEqual({
        tenantId: "acme",
        accounts: 1,
        calendars: 2,
        events: 2,
        channels: 2,
        apiTokens: 1,
      });
      const nobody = { kind: "tenant", tenantId: tenantId("nobody") } as const;
      expect(await store.removals.preview(nobody)).toBeUndefined();
      expect(await store.removals.ask(nobody, BY(store))).toEqual({ kind: "unknown" });
    });
  });
}

const BY = (store: TestStore) =>
  ({ actor: "olga", reason: "over", isRevoking: true, now: store.now() }) as const;
const END = (store: TestStore) => ({ scrub: "left-to-vacuum", now: store.now() }) as const;
const CLAIM = (store: TestStore) =>
  ({ now: store.now(), atOnce: 1, queuedForMs: LEASE_MS }) as const;

/** One account with two calendars, and something in every table that a tenant's work writes. */
async function fill(store: TestStore, tenant: string): ReturnType<TestStore["connect"]> {
  const googleIds = [`ann@${tenant}.test`, `team@${tenant}.test`];
  const connected = await store.connect(tenant, `${tenant}-ann`, googleIds);
  for (const id of connected.calendars) {
    await store.refresh(id, {
      items: [event(`${tenant}-event`, { summary: `${tenant} secret` })],
      run: { kind: "full", class: "poll", requests: 1, at: store.now() },
    });
    await store.calendars.request(id, { class: "poll", dueAt: store.now() });
    const { lease } = await store.begin(id);
    await store.stage(lease, { items: [event(`${tenant}-staged`)] });
    await store.postpone(lease);
    await store.channels.add({ id: `${tenant}-${id}`, calendarId: id, createdAt: store.now() });
  }
  const { id, sha256 } = makeApiToken(store.now());
  await store.tokens.create(
    { id, sha256, name: tenant, scopes: ["read"], tenantId: tenantId(tenant) },
    { actor: "olga", now: store.now() },
  );
  const by = { actor: "olga", reason: undefined, now: store.now() };
  await store.settings.set(`quota.default.tenant:${tenant}`, { weight: 2 }, by);
  await store.accounts.setOperatorPause(connected.account.id, { reason: "hold" }, by);
  await store.accounts.setOperatorPause(connected.account.id, undefined, by);
  await store.usage.add({
    id: `batch-${String(tenant.length)}`,
    projectId: projectId("default"),
    at: store.now(),
    figures: [
      {
        tenantId: tenantId(tenant),
        consumer: consumer("ballast-worker"),
        class: "poll",
        operation: "events.list",
        attempt: "first",
        outcome: "succeeded",
        reason: "",
        requests: 7,
      },
    ],
  });
  return connected;
}

function numbersOf(rows: readonly StoredRow[], tenant: string): readonly number[] {
  return rows.flatMap(({ table, text, calendarNumber }) =>
    table === "calendars" && text.includes(tenant) && calendarNumber !== undefined
      ? [calendarNumber]
      : [],
  );
}

async function ask(store: TestStore, target: RemovalTarget): Promise<RemovalRow> {
  const asked = await store.removals.ask(target, BY(store));
  if (asked.kind !== "asked") throw new Error(`Not asked for: ${asked.kind}`);
  return asked.removal;
}

async function markAll(store: TestStore, { id }: RemovalRow): Promise<void> {
  while ((await store.removals.markSome(id, { limit: 1, now: store.now() })) > 0);
}

async function begin(store: TestStore, id: string): Promise<RemovalLease | undefined> {
  const now = store.now();
  return (await store.removals.begin(id, { now, until: store.later(LEASE_MS) }))?.lease;
}

async function releaseAll(store: TestStore, lease: RemovalLease): Promise<void> {
  const page = { after: undefined as AccountId | undefined, limit: 10 };
  const waiting = await store.removals.beginReleases(lease, page);
  if (waiting === "fenced-out") throw new Error(waiting);
  const released: AccountReleased[] = waiting.map((one) => ({
    accountId: one.accountId,
    isLeaving: one.isLeaving,
    channelsStopped: 0,
    channelsLeft: one.channels.length,
    tokensRevoked: 0,
    tokensLeft: 0,
  }));
  if (released.length > 0) await store.removals.release(lease, released, []);
}

async function runToEnd(
  store: TestStore,
  removal: RemovalRow,
): ReturnType<TestStore["removals"]["finish"]> {
  await markAll(store, removal);
  const lease = must(await begin(store, removal.id));
  await releaseAll(store, lease);
  for (;;) {
    const erased = await store.removals.eraseSome(lease, 3);
    if (erased === "fenced-out") throw new Error(erased);
    if (erased === 0) return store.removals.finish(lease, END(store));
  }
}
