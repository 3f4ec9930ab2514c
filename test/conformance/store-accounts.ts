import { describe, expect, test } from "vitest";
import {
  accountId,
  accountName,
  budgetAccount,
  projectId,
  quotaUser,
  tenantId,
} from "../../src/core/ids.ts";
import { openStore } from "../../src/store/open-store.ts";
import { createVault, VaultKeyError } from "../../src/store/vault.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import {
  event,
  idsOf,
  LEASE_MS,
  listEntry,
  must,
  openTestStore,
  testVault,
} from "./store-fixture.ts";

/** Accounts, their credentials and the discovery of their calendars. */
export function accountConformance(freshDatabase: FreshDatabase): void {
  const connection = {
    projectId: projectId("default"),
    tenantId: tenantId("acme"),
    name: accountName("ann"),
    quotaUser: undefined,
    refreshToken: "token-2",
    scopes: ["calendar.readonly", "openid"],
  };

  describe("an account", () => {
    test("connects, and reconnecting keeps its id, its calendars and their copies", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account, calendars } = await store.connect("acme", "ann", ["a"]);
      const id = must(calendars[0]);
      await store.refresh(id, { items: [event("e")] });
      expect(await store.accounts.markNeedsReconnect(account.id, "invalid_grant")).toBe(true);
      expect(await store.accounts.markNeedsReconnect(account.id, "invalid_grant")).toBe(false);
      expect(await store.accounts.get(account.id)).toMatchObject({
        state: "needs-reconnect",
        stateReason: "invalid_grant",
      });
      expect(await store.calendars.request(id, { class: "push", dueAt: store.now() })).toBe(
        "not-refreshable",
      );

      const again = await store.accounts.connect({
        ...connection,
        quotaUser: quotaUser("sub-1"),
        now: store.now(),
      });
      expect(again).toMatchObject({
        id: account.id,
        state: "connected",
        stateReason: undefined,
        quotaUser: "sub-1",
        scopes: ["calendar.readonly", "openid"],
        discoveryDueAt: store.now(),
      });
      expect(await store.accounts.find(tenantId("acme"), accountName("ann"))).toEqual(again);
      expect(await store.accounts.readGrant(account.id)).toMatchObject({ refreshToken: "token-2" });
      // I6: what was asked for meanwhile is still to be done.
      const { lease, state } = await store.begin(id);
      expect(state).toMatchObject({ requested: 2, served: 1 });
      await store.publish(lease, { kind: "incremental", served: 2 });
      expect(idsOf(await store.readAll(id))).toEqual(["e"]);
    });

    test("I12: an operator's pause outlives reconnecting and reopening, and is recorded", async () => {
      const url = await freshDatabase();
      const store = await openTestStore(url);
      const { account, calendars } = await store.connect("acme", "ann", ["a"]);
      const by = { actor: "olga", now: store.now() };
      await store.accounts.setOperatorPause(account.id, { reason: "legal hold" }, by);
      await store.accounts.markNeedsReconnect(account.id, "invalid_grant");
      expect(await store.accounts.connect({ ...connection, now: store.now() })).toMatchObject({
        state: "paused",
        stateReason: "legal hold",
      });
      await store.discover(account.id, { entries: [] }).catch(() => undefined);

      const reopened = await openTestStore(url, { clock: store.clock });
      const id = must(calendars[0]);
      expect(await reopened.calendars.get(id)).toMatchObject({
        state: "paused",
        stateReason: "legal hold",
      });
      expect(
        await reopened.refreshes.begin(id, { now: store.now(), until: store.later(1) }),
      ).toEqual({ kind: "not-refreshable", reason: "paused: legal hold" });
      expect(await reopened.accounts.countsByState()).toMatchObject({ paused: 1, connected: 0 });

      await reopened.accounts.setOperatorPause(account.id, undefined, by);
      expect(await reopened.accounts.get(account.id)).toMatchObject({ state: "connected" });
      expect((await reopened.begin(id)).state.generation).toBe(0);
      expect(await reopened.operatorLog.list({ limit: 10 })).toMatchObject([
        { actor: "olga", action: "account.resumed", subject: account.id },
        { actor: "olga", action: "account.paused", subject: account.id, reason: "legal hold" },
      ]);
    });

    test("I12: an operator's pause is a setting of its project's ledger, as long as it lasts", async () => {
      const store = await openTestStore(await freshDatabase());
      const odd = { ...connection, tenantId: tenantId("a/c%me"), now: store.now() };
      const { id } = await store.accounts.connect(odd);
      const by = { actor: "olga", now: store.now() };
      const pauses = async (): Promise<readonly unknown[]> =>
        (await store.settings.list("pause.")).map(({ name, value }) => [name, value]);

      await store.accounts.setOperatorPause(id, { reason: "legal hold" }, by);
      // As the ledger names an account, whoever sends for it.
      const target = `account:${budgetAccount(odd.tenantId, odd.name)}`;
      expect(await pauses()).toEqual([[`pause.default.${target}`, { reason: "legal hold" }]]);
      await store.accounts.setOperatorPause(id, { reason: "audit" }, by);
      expect(await pauses()).toEqual([[`pause.default.${target}`, { reason: "audit" }]]);

      await store.accounts.connect(odd);
      await store.accounts.connect({ ...odd, projectId: projectId("other") });
      expect(await pauses()).toEqual([[`pause.other.${target}`, { reason: "audit" }]]);
      await store.accounts.setOperatorPause(id, undefined, by);
      expect(await pauses()).toEqual([]);
    });

    test("replaces a refresh token, and says which key a token needs that it cannot open", async () => {
      const url = await freshDatabase();
      const store = await openTestStore(url);
      const { account } = await store.connect("acme", "ann", []);
      await store.accounts.replaceRefreshToken(account.id, "token-3");
      expect(await store.accounts.readGrant(account.id)).toMatchObject({ refreshToken: "token-3" });
      expect(await store.accounts.readGrant(accountId("acc_unknown"))).toBeUndefined();

      const otherKey = createVault([{ id: "other-key", key: new Uint8Array(32).fill(9) }]);
      const other = await openStore(
        { url, mirror: "full", migrateWhenEmpty: false },
        { clock: store.clock, vault: otherKey },
      );
      await expect(other.accounts.readGrant(account.id)).rejects.toThrow(VaultKeyError);
      await expect(other.accounts.readGrant(account.id)).rejects.toThrow(/"test-key"/);
      await other.close();
      expect(testVault.currentKeyId).toBe("test-key");
    });

    test("is listed by key, page by page", async () => {
      const store = await openTestStore(await freshDatabase());
      for (const name of ["a", "b", "c"]) await store.connect("acme", name, []);
      const first = await store.accounts.list({ limit: 2 });
      const rest = await store.accounts.list({ limit: 2, after: must(first[1]).id });
      expect([...first, ...rest].map((row) => String(row.name)).toSorted()).toEqual([
        "a",
        "b",
        "c",
      ]);
    });

    test("two first connects at once are one account that opens its token", async () => {
      const store = await openTestStore(await freshDatabase());
      const rows = await Promise.all(
        Array.from({ length: 4 }, () =>
          store.accounts.connect({ ...connection, now: store.now() }),
        ),
      );
      expect(new Set(rows.map((row) => row.id)).size).toBe(1);
      expect(await store.accounts.readGrant(must(rows[0]).id)).toMatchObject({
        refreshToken: "token-2",
      });
    });
  });

  describe("discovery", () => {
    test("adds calendars that are due, and tells what changed", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account, calendars } = await store.connect("acme", "ann", ["a", "b"]);
      expect(await store.calendars.get(must(calendars[0]))).toMatchObject({
        dueReason: "first-sync",
        dueAt: store.now(),
        state: "never",
      });
      const changes = await store.discover(account.id, {
        kind: "incremental",
        entries: [listEntry("a", { summary: "New name", isHidden: true }), listEntry("c")],
      });
      expect(changes).toEqual({ added: 1, changed: 1, lost: 0, returned: 0 });
      expect(await store.calendars.get(must(calendars[0]))).toMatchObject({
        summary: "New name",
        isHidden: true,
      });
    });

    test("a calendar absent from one full list is asked for again, absent from two it is lost, and it can return", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account, calendars } = await store.connect("acme", "ann", ["a", "b"]);
      const gone = must(calendars[1]);
      await store.refresh(gone, { items: [event("e")] });
      const withoutB = { entries: [listEntry("a")] };

      expect(await store.discover(account.id, withoutB)).toMatchObject({ lost: 0 });
      expect(await store.accounts.get(account.id)).toMatchObject({
        discoveryDueAt: store.later(1_000),
      });
      await store.clock.advance(1_000);
      const confirm = await store.accounts.beginDiscovery(account.id, {
        now: store.now(),
        until: store.later(LEASE_MS),
      });
      // A delta would not name it: the confirming answer has to be a full list.
      expect(confirm).toMatchObject({ kind: "begun", state: { syncToken: undefined } });
      await store.clock.advance(LEASE_MS + 1);

      expect(await store.discover(account.id, withoutB)).toMatchObject({ lost: 1 });
      expect(await store.calendars.get(gone)).toMatchObject({ state: "lost", dueAt: undefined });
      expect(idsOf(await store.readAll(gone))).toEqual(["e"]);
      expect(
        await store.discover(account.id, { entries: [listEntry("a"), listEntry("b")] }),
      ).toMatchObject({ returned: 1, lost: 0 });
      expect(await store.calendars.get(gone)).toMatchObject({ dueAt: store.now() });
      expect((await store.begin(gone)).state.generation).toBe(1);
    });

    test("an entry that is marked deleted is lost at once, an absence in a delta means nothing", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account } = await store.connect("acme", "ann", ["a", "b"]);
      expect(
        await store.discover(account.id, {
          kind: "incremental",
          entries: [listEntry("a", { isDeleted: true })],
        }),
      ).toEqual({ added: 0, changed: 0, lost: 1, returned: 0 });
      expect(await store.calendars.counts()).toMatchObject({ lost: 1, never: 1 });
    });

    test("I7: a stalled discovery is fenced out, and one that died is due when its lease is over", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account } = await store.connect("acme", "ann", ["a"]);
      await store.accounts.requestDiscovery(account.id, store.now());
      const lease = { now: store.now(), until: store.later(LEASE_MS) };
      const stalled = await store.accounts.beginDiscovery(account.id, lease);
      if (stalled.kind !== "begun") throw new Error(stalled.kind);
      expect(await store.accounts.beginDiscovery(account.id, lease)).toMatchObject({
        kind: "busy",
      });
      const claim = { limit: 10, queuedForMs: 1_000 };
      expect(await store.accounts.claimDueDiscoveries({ now: store.now(), ...claim })).toEqual([]);
      await store.clock.advance(LEASE_MS);
      expect(await store.accounts.claimDueDiscoveries({ now: store.now(), ...claim })).toHaveLength(
        1,
      );
      expect(await store.accounts.claimDueDiscoveries({ now: store.now(), ...claim })).toEqual([]);
      await store.discover(account.id, { entries: [listEntry("a")] });
      expect(
        await store.accounts.postponeDiscovery(stalled.lease, {
          dueAt: store.now(),
          reason: "backoff",
          earlierAttempt: "none",
          dropSyncToken: true,
        }),
      ).toBe("fenced-out");
      expect(await store.accounts.beginDiscovery(account.id, lease)).toEqual({ kind: "not-due" });
    });

    test("I6: a request during a discovery leads to another one", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account } = await store.connect("acme", "ann", ["a"]);
      await store.accounts.requestDiscovery(account.id, store.now());
      const begun = await store.accounts.beginDiscovery(account.id, {
        now: store.now(),
        until: store.later(LEASE_MS),
      });
      if (begun.kind !== "begun") throw new Error(begun.kind);
      await store.accounts.requestDiscovery(account.id, store.now());
      await store.accounts.postponeDiscovery(begun.lease, {
        dueAt: store.later(LEASE_MS),
        reason: "backoff",
        earlierAttempt: "reached-google",
        dropSyncToken: false,
        failure: { code: "GCAL_UNAVAILABLE", consecutive: 1 },
      });
      expect(await store.accounts.get(account.id)).toMatchObject({ discoveryDueAt: store.now() });
    });
  });
}
