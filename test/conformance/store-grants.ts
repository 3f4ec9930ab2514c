import { describe, expect, test } from "vitest";
import {
  accountId,
  accountName,
  projectId,
  quotaUser,
  tenantId,
  type AccountId,
} from "../../src/core/ids.ts";
import { openStore } from "../../src/store/open-store.ts";
import { createVault } from "../../src/store/vault.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { HOUR_MS, listEntry, openTestStore, testVault, type TestStore } from "./store-fixture.ts";

const facts = {
  projectId: projectId("default"),
  tenantId: tenantId("acme"),
  name: accountName("ann"),
  quotaUser: undefined,
  scopes: ["calendar.readonly"],
};
const serviceAccount = {
  kind: "service-account",
  clientEmail: "robot@project.iam.example",
  privateKey: "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n",
  subject: "Ann@Example.Test",
  scopes: ["calendar.readonly"],
} as const;
const newKey = { id: "new-key", key: new Uint8Array(32).fill(9) };
const oldKey = { id: "test-key", key: new Uint8Array(32).fill(7) };

async function connectAs(
  store: TestStore,
  tenant: string,
  sub: string | undefined,
): Promise<AccountId> {
  const { id } = await store.accounts.connect({
    ...facts,
    tenantId: tenantId(tenant),
    quotaUser: sub === undefined ? undefined : quotaUser(sub),
    refreshToken: `token-of-${tenant}`,
    now: store.now(),
  });
  return id;
}

function listPrimary(store: TestStore, id: AccountId, address: string): Promise<unknown> {
  return store.discover(id, {
    entries: [listEntry("other"), listEntry(address, { isPrimary: true })],
  });
}

async function quotaUserOf(store: TestStore, id: AccountId): Promise<string | undefined> {
  return (await store.accounts.get(id))?.quotaUser;
}

/** What accounts are connected by, whom Google charges for them, and the keys that seal it. */
export function grantConformance(freshDatabase: FreshDatabase): void {
  describe("credentials", () => {
    test("a service account's key is sealed like a refresh token, and comes back whole", async () => {
      const store = await openTestStore(await freshDatabase());
      const { id, grantKind } = await store.accounts.connect({
        ...facts,
        serviceAccount,
        now: store.now(),
      });
      expect(grantKind).toBe("service-account");
      expect(await store.accounts.readGrant(id)).toEqual(serviceAccount);
      expect(await store.credentials.read(id)).toMatchObject({ grant: serviceAccount });
      // By consent instead, later: the same account.
      const again = await store.accounts.connect({ ...facts, refreshToken: "r", now: store.now() });
      expect(again).toMatchObject({ id, grantKind: "refresh-token" });
      expect(await store.accounts.readGrant(id)).toEqual({
        kind: "refresh-token",
        refreshToken: "r",
      });
    });

    test("a state is told with its reason and since when", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await connectAs(store, "acme", undefined);
      const connectedAt = store.now();
      expect(await store.accounts.get(id)).toMatchObject({
        state: "connected",
        stateSince: connectedAt,
      });
      await store.clock.advance(HOUR_MS);
      await store.accounts.markNeedsReconnect(id, "GCAL_SCOPE_MISSING");
      const lostAt = store.now();
      await store.clock.advance(HOUR_MS);
      await store.accounts.markNeedsReconnect(id, "GCAL_CREDENTIALS_REVOKED");
      expect(await store.accounts.get(id)).toMatchObject({
        state: "needs-reconnect",
        stateReason: "GCAL_SCOPE_MISSING",
        stateSince: lostAt,
      });
      const by = { actor: "olga", now: store.now() };
      await store.accounts.setOperatorPause(id, { reason: "legal hold" }, by);
      expect(await store.accounts.get(id)).toMatchObject({
        state: "paused",
        stateSince: store.now(),
      });
      const page = { limit: 10, tenantId: tenantId("acme") };
      expect(await store.accounts.list({ ...page, state: "paused" })).toHaveLength(1);
      expect(await store.accounts.list({ ...page, state: "needs-reconnect" })).toEqual([]);
      expect(await store.accounts.list({ limit: 10, tenantId: tenantId("other") })).toEqual([]);
    });
  });

  describe("one Google user under two tenants", () => {
    test("is one quota user by its sub", async () => {
      const store = await openTestStore(await freshDatabase());
      const ids = [await connectAs(store, "acme", "107"), await connectAs(store, "globex", "107")];
      for (const id of ids) expect(await quotaUserOf(store, id)).toBe("107");
    });

    test("is one quota user by its primary calendar, whatever the case of its address", async () => {
      const store = await openTestStore(await freshDatabase());
      const first = await connectAs(store, "acme", undefined);
      const second = await connectAs(store, "globex", undefined);
      const third = await connectAs(store, "globex-2", undefined);
      expect(await quotaUserOf(store, first)).not.toBe(await quotaUserOf(store, second));
      await listPrimary(store, first, "ann@example.test");
      await listPrimary(store, second, "Ann@example.test");
      await listPrimary(store, third, "bob@example.test");
      expect(await quotaUserOf(store, first)).toBe(await quotaUserOf(store, second));
      expect(await quotaUserOf(store, first)).not.toBe(await quotaUserOf(store, third));
      expect(await quotaUserOf(store, first)).toMatch(/^h[0-9a-f]{39}$/);
    });

    test.for(["the one that knows it first", "the one that knows it last"] as const)(
      "is called by its sub where one of them knows it: %s",
      async (order) => {
        const store = await openTestStore(await freshDatabase());
        const known = await connectAs(store, "acme", "107");
        const unknown = await connectAs(store, "globex", undefined);
        const listed =
          order === "the one that knows it first" ? [known, unknown] : [unknown, known];
        for (const id of listed) await listPrimary(store, id, "ann@example.test");
        expect(await quotaUserOf(store, unknown)).toBe("107");
        // A later connect without a sub, and a service account for the same person, too.
        await store.accounts.connect({ ...facts, refreshToken: "r2", now: store.now() });
        expect(await quotaUserOf(store, known)).toBe("107");
        const robot = await store.accounts.connect({
          ...facts,
          tenantId: tenantId("initech"),
          serviceAccount,
          now: store.now(),
        });
        expect(robot.quotaUser).toBe("107");
      },
    );

    test("an account connected as somebody else takes nobody along", async () => {
      const store = await openTestStore(await freshDatabase());
      const first = await connectAs(store, "acme", undefined);
      const second = await connectAs(store, "globex", undefined);
      for (const id of [first, second]) await listPrimary(store, id, "ann@example.test");
      await connectAs(store, "acme", "bobs-sub");
      expect(await quotaUserOf(store, first)).toBe("bobs-sub");
      expect(await quotaUserOf(store, second)).toMatch(/^h/);
      await listPrimary(store, first, "bob@example.test");
      expect(await quotaUserOf(store, second)).toMatch(/^h/);
    });
  });

  describe("keys", () => {
    test("are rotated in portions while both are in use; what was replaced meanwhile stays", async () => {
      const url = await freshDatabase();
      const store = await openTestStore(url);
      const ids: AccountId[] = [];
      for (let n = 0; n < 7; n += 1) ids.push(await connectAs(store, `t${String(n)}`, undefined));
      const vault = createVault([newKey, oldKey]);
      const next = await openStore(
        { url, mirror: "full", migrateWhenEmpty: false },
        { clock: store.clock, vault },
      );
      const { keyRotation } = next;
      expect(await keyRotation.usage()).toEqual([{ keyId: "test-key", secrets: 7, isKnown: true }]);
      const first = await keyRotation.rotateSome({ after: undefined, limit: 3 });
      expect(first).toMatchObject({ rotated: 3, unopened: [] });
      expect(await keyRotation.usage()).toEqual([
        { keyId: "new-key", secrets: 3, isKnown: true },
        { keyId: "test-key", secrets: 4, isKnown: true },
      ]);
      // A worker with the old list goes on; it cannot open what is sealed anew, and says with which key.
      const [replaced = accountId("")] = ids;
      await store.accounts.replaceRefreshToken(replaced, "replaced");
      const isBehind = first.next !== undefined && replaced <= first.next;
      expect(await store.keyRotation.usage()).toMatchObject([
        { keyId: "new-key", isKnown: false },
        { keyId: "test-key", isKnown: true },
      ]);
      const second = await keyRotation.rotateSome({ after: first.next, limit: 10 });
      expect(second).toMatchObject({ unopened: [], next: undefined });
      // Replaced behind the place where the first pass was: the next pass finds it.
      const third = await keyRotation.rotateSome({ after: undefined, limit: 10 });
      expect([second.rotated, third.rotated]).toEqual(isBehind ? [4, 1] : [4, 0]);
      for (const [index, id] of ids.entries()) {
        const refreshToken = index === 0 ? "replaced" : `token-of-t${String(index)}`;
        expect(await next.accounts.readGrant(id)).toMatchObject({ refreshToken });
      }
      expect(await keyRotation.rotateSome({ after: undefined, limit: 10 })).toMatchObject({
        rotated: 0,
      });
      await next.close();
    });

    test("what no key opens stays as it is and is named", async () => {
      const url = await freshDatabase();
      const store = await openTestStore(url);
      const id = await connectAs(store, "acme", undefined);
      const stranger = await openStore(
        { url, mirror: "full", migrateWhenEmpty: false },
        { clock: store.clock, vault: createVault([newKey]) },
      );
      expect(await stranger.keyRotation.usage()).toEqual([
        { keyId: testVault.currentKeyId, secrets: 1, isKnown: false },
      ]);
      expect(await stranger.keyRotation.rotateSome({ after: undefined, limit: 9 })).toEqual({
        rotated: 0,
        unopened: [id],
        next: undefined,
      });
      await stranger.close();
      expect(await store.accounts.readGrant(id)).toMatchObject({ refreshToken: "token-of-acme" });
    });
  });
}
