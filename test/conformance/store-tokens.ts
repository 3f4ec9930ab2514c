import { describe, expect, test } from "vitest";
import { tenantId } from "../../src/core/ids.ts";
import { makeApiToken } from "../../src/core/token-store.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { HOUR_MS, openTestStore } from "./store-fixture.ts";

/** Tokens of the HTTP API. */
export function tokenConformance(freshDatabase: FreshDatabase): void {
  describe("tokens", () => {
    test("are made for a known tenant, found by their id with the hash alone, and recorded", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connectOne();
      const by = { actor: "olga", now: store.now() };
      const { id, token, sha256 } = makeApiToken(store.now());
      const made = { id, sha256, name: "booking\u0000api", scopes: ["read", "refresh"] };
      expect(await store.tokens.create({ ...made, tenantId: tenantId("acme") }, by)).toBe(
        "created",
      );
      const row = {
        id,
        name: "booking\u0000api",
        tenantId: "acme",
        scopes: ["read", "refresh"],
        createdAt: store.now(),
        createdBy: "olga",
        lastUsedAt: undefined,
        revokedAt: undefined,
      };
      expect(await store.tokens.find([id, "tok_000000000000"])).toEqual([{ ...row, sha256 }]);
      expect(await store.tokens.list({ limit: 10 })).toEqual([row]);
      expect(await store.tokens.find([])).toEqual([]);
      expect(await store.tokens.hasUsable()).toBe(true);
      const log = await store.operatorLog.list({ limit: 1 });
      expect(log).toMatchObject([
        { action: "token.created", subject: id, actor: "olga", details: { tenant: "acme" } },
      ]);
      expect(JSON.stringify(log)).not.toContain(token.split(".")[1]);
    });

    test("of a tenant that is not known are refused, an operator's has none", async () => {
      const store = await openTestStore(await freshDatabase());
      const by = { actor: "olga", now: store.now() };
      const { id, sha256 } = makeApiToken(store.now());
      const made = { id, sha256, name: "booking-api", scopes: ["read"] };
      expect(await store.tokens.create({ ...made, tenantId: tenantId("nobody") }, by)).toBe(
        "unknown-tenant",
      );
      expect(await store.tokens.list({ limit: 10 })).toEqual([]);
      expect(await store.operatorLog.list({ limit: 1 })).toEqual([]);
      expect(await store.tokens.create({ ...made, tenantId: undefined }, by)).toBe("created");
      expect(await store.tokens.find([id])).toMatchObject([{ id, tenantId: undefined }]);
    });

    test("are listed page by page, and of one tenant alone", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connect("acme", "ann", ["a"]);
      await store.connect("globex", "bob", ["b"]);
      const ids: string[] = [];
      for (const tenant of ["acme", "globex", "acme"]) {
        await store.clock.advance(1);
        const { id, sha256 } = makeApiToken(store.now());
        ids.push(id);
        const token = { id, sha256, name: "n", scopes: ["read"], tenantId: tenantId(tenant) };
        await store.tokens.create(token, { actor: "olga", now: store.now() });
      }
      const idsOf = async (filter: Parameters<typeof store.tokens.list>[0]): Promise<string[]> =>
        (await store.tokens.list(filter)).map(({ id }) => id);
      expect(await idsOf({ limit: 2 })).toEqual(ids.slice(0, 2));
      expect(await idsOf({ limit: 2, after: ids[1] })).toEqual(ids.slice(2));
      expect(await idsOf({ limit: 9, tenantId: tenantId("acme") })).toEqual([ids[0], ids[2]]);
    });

    test("are revoked once, with a record, and stay to be recognised", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connectOne();
      const { id, sha256 } = makeApiToken(store.now());
      const token = { id, sha256, name: "n", scopes: ["read"], tenantId: tenantId("acme") };
      await store.tokens.create(token, { actor: "olga", now: store.now() });
      await store.clock.advance(5);
      const by = { actor: "otto", reason: "leaked", now: store.now() };
      expect(await store.tokens.revoke(id, by)).toBe("revoked");
      expect(await store.tokens.hasUsable()).toBe(false);
      await store.clock.advance(5);
      expect(await store.tokens.revoke(id, { ...by, now: store.now() })).toBe("revoked-before");
      expect(await store.tokens.revoke("tok_000000000000", by)).toBe("unknown-token");
      expect(await store.tokens.find([id])).toMatchObject([{ revokedAt: by.now }]);
      const actions = (await store.operatorLog.list({ limit: 9 })).map(({ action }) => action);
      expect(actions).toEqual(["token.revoked", "token.created"]);
      expect(await store.operatorLog.list({ limit: 1 })).toMatchObject([
        { actor: "otto", reason: "leaked", subject: id },
      ]);
    });

    test("note their last use at most as often as is said", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connectOne();
      const { id, sha256 } = makeApiToken(store.now());
      const token = { id, sha256, name: "n", scopes: ["read"], tenantId: tenantId("acme") };
      await store.tokens.create(token, { actor: "olga", now: store.now() });
      const first = store.now();
      const lastUse = async (): Promise<unknown> => (await store.tokens.find([id]))[0]?.lastUsedAt;
      await store.tokens.noteUsed([id], first, HOUR_MS);
      expect(await lastUse()).toBe(first);
      await store.tokens.noteUsed([id], store.later(HOUR_MS - 1), HOUR_MS);
      expect(await lastUse()).toBe(first);
      await store.tokens.noteUsed([id, "tok_000000000000"], store.later(HOUR_MS), HOUR_MS);
      expect(await lastUse()).toBe(store.later(HOUR_MS));
    });
  });
}
