import { describe, expect, test } from "vitest";
import { tenantId } from "../../src/core/ids.ts";
import { makeWebhookSecret } from "../../src/core/webhook-secret.ts";
import type { WebhookClaim } from "../../src/core/webhook-store.ts";
import { openStore } from "../../src/store/open-store.ts";
import { createVault } from "../../src/store/vault.ts";
import { runOnDatabase } from "./run-on-database.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { event, must, openTestStore, type TestStore } from "./store-fixture.ts";

const ACME = tenantId("acme");
const URL_A = "https://app.example/ballast?key=canary";
const LEASE_MS = 30_000;

async function claim(store: TestStore, limit = 10): Promise<readonly WebhookClaim[]> {
  return store.webhooks.claimDue({ now: store.now(), limit, leaseMs: LEASE_MS });
}

function by(store: TestStore): {
  readonly actor: string;
  readonly now: ReturnType<TestStore["now"]>;
} {
  return { actor: "olga", now: store.now() };
}

/** Where tenants' changes are sent. */
export function webhookConformance(freshDatabase: FreshDatabase): void {
  describe("a webhook", () => {
    test("begins behind what is there, with a sealed secret, and is recorded without either", async () => {
      const url = await freshDatabase();
      const store = await openTestStore(url);
      const id = await store.connectOne();
      const secret = makeWebhookSecret();
      const set = { url: URL_A, secret };
      expect(await store.webhooks.set(tenantId("nobody"), set, by(store))).toBe("unknown-tenant");
      expect(await store.webhooks.set(ACME, set, by(store))).toBe("created");
      expect(await claim(store)).toEqual([]);
      await store.refresh(id, { items: [event("a")] });
      expect(await claim(store)).toMatchObject([{ tenantId: "acme", url: URL_A, secret }]);
      expect(await store.webhooks.get(ACME)).toMatchObject({ state: "active", failures: 0 });
      const log = JSON.stringify(await store.operatorLog.list({ limit: 10 }));
      expect(log).toContain("webhook.set");
      expect(log).toContain("app.example");
      expect(log).not.toContain("canary");
      expect(log).not.toContain(secret);
      expect(JSON.stringify(await store.webhooks.list({ limit: 10 }))).not.toContain(secret);
    });

    test("is claimed by one at a time, and moves only by whoever holds the claim", async () => {
      const url = await freshDatabase();
      const store = await openTestStore(url);
      const other = await openTestStore(url, { clock: store.clock });
      const id = await store.connectOne();
      await store.webhooks.set(ACME, { url: URL_A, secret: makeWebhookSecret() }, by(store));
      await store.refresh(id, { items: [event("a")] });
      const claims = (await Promise.all([claim(store), claim(other)])).flat();
      expect(claims).toHaveLength(1);
      const first = must(claims[0]);
      // Its process was killed, or slept: the claim ends by its time, and then it is another's.
      await store.clock.advance(LEASE_MS);
      const [second] = await claim(other);
      const position = await store.changes.head(ACME);
      const delivered = { position, now: store.now() };
      expect(await store.webhooks.markDelivered(first, delivered)).toBe("fenced-out");
      expect(await store.webhooks.markDelivered(must(second), delivered)).toBe("marked");
      expect(await claim(store)).toEqual([]);
      expect(await store.webhooks.get(ACME)).toMatchObject({ position, deliveredAt: store.now() });
    });

    test("fails later each time, is disabled with its reason and recorded, and goes on from its place", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.webhooks.set(ACME, { url: URL_A, secret: makeWebhookSecret() }, by(store));
      await store.refresh(id, { items: [event("a")] });
      const failed = { reason: "status-500", disable: false };
      const dueAt = store.later(10_000);
      const [one] = await claim(store);
      const { position } = must(one);
      await store.webhooks.markFailed(must(one), { ...failed, dueAt, now: store.now() });
      expect(await store.webhooks.get(ACME)).toMatchObject({
        state: "failing",
        reason: "status-500",
        failures: 1,
        dueAt,
      });
      expect(await claim(store)).toEqual([]);
      expect(await store.webhooks.health()).toMatchObject({
        byState: { active: 0, failing: 1, disabled: 0 },
        oldestWaitingAt: store.now(),
      });
      await store.clock.advance(10_000);
      const [two] = await claim(store);
      expect(two).toMatchObject({ failures: 1, failingSince: store.now() - 10_000, position });
      const disable = { reason: "status-410", dueAt: store.now(), now: store.now(), disable: true };
      await store.webhooks.markFailed(must(two), disable);
      await store.clock.advance(100_000);
      expect(await claim(store)).toEqual([]);
      expect(await store.webhooks.get(ACME)).toMatchObject({
        state: "disabled",
        reason: "status-410",
      });
      expect(await store.webhooks.health()).toEqual({
        byState: { active: 0, failing: 0, disabled: 1 },
        oldestWaitingAt: undefined,
      });
      expect(await store.operatorLog.list({ limit: 1 })).toMatchObject([
        { action: "webhook.disabled", subject: "acme", actor: "ballast", reason: "status-410" },
      ]);
      expect(await store.webhooks.resume(ACME, by(store))).toBe("resumed");
      expect(await claim(store)).toMatchObject([{ position, failures: 0 }]);
    });

    test("set anew keeps its place and fences out who sends by the old secret; removed it is gone", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.webhooks.set(ACME, { url: URL_A, secret: makeWebhookSecret() }, by(store));
      await store.refresh(id, { items: [event("a")] });
      const [old] = await claim(store);
      const secret = makeWebhookSecret();
      const set = { url: "https://other.example/", secret };
      expect(await store.webhooks.set(ACME, set, by(store))).toBe("replaced");
      const delivered = { position: 1_000, now: store.now() };
      expect(await store.webhooks.markDelivered(must(old), delivered)).toBe("fenced-out");
      const [claimed] = await claim(store);
      expect(claimed).toMatchObject({ url: set.url, secret, position: old?.position });
      // Given back, it may be claimed at once.
      await store.webhooks.release(must(claimed));
      expect(await claim(store)).toHaveLength(1);
      expect(await store.webhooks.remove(ACME, by(store))).toBe("removed");
      expect(await store.webhooks.remove(ACME, by(store))).toBe("unknown-webhook");
      expect(await store.webhooks.resume(ACME, by(store))).toBe("unknown-webhook");
      expect(await store.webhooks.get(ACME)).toBeUndefined();
    });

    test("is looked for among those who have something newer than was seen", async () => {
      const store = await openTestStore(await freshDatabase());
      expect(await store.changes.newest()).toBe(0);
      const id = await store.connectOne();
      await store.webhooks.set(ACME, { url: URL_A, secret: makeWebhookSecret() }, by(store));
      await store.refresh(id, { items: [event("a")] });
      const newest = await store.changes.newest();
      expect(newest).toBe(await store.changes.head(ACME));
      await store.connect("globex", "gil", ["gil@example.test"]);
      const due = { now: store.now(), limit: 10, leaseMs: LEASE_MS };
      expect(await store.webhooks.claimDue({ ...due, newsAfter: newest })).toEqual([]);
      const after = { ...due, newsAfter: newest - 1 };
      expect(await store.webhooks.claimDue(after)).toMatchObject([{ tenantId: "acme" }]);
    });

    test("whose changes were forgotten has that to send", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.webhooks.set(ACME, { url: URL_A, secret: makeWebhookSecret() }, by(store));
      await store.refresh(id, { items: [event("a")] });
      expect(await store.changes.forget(store.later(1), 100)).toBeGreaterThan(0);
      const [claimed] = await claim(store);
      const { position } = must(claimed);
      expect(await store.changes.read(ACME, { after: position, limit: 1 })).toEqual({
        kind: "forgotten",
      });
    });

    test("whose secret no key opens fails alone; key rotation takes webhooks along", async () => {
      const url = await freshDatabase();
      const store = await openTestStore(url);
      const id = await store.connectOne();
      const other = await store.connect("globex", "gil", ["gil@example.test"]);
      for (const tenant of [ACME, tenantId("globex")]) {
        await store.webhooks.set(tenant, { url: URL_A, secret: makeWebhookSecret() }, by(store));
      }
      await store.refresh(id, { items: [event("a")] });
      await store.refresh(must(other.calendars[0]), { items: [event("a")] });
      const newKey = { id: "new-key", key: new Uint8Array(32).fill(9) };
      const oldKey = { id: "test-key", key: new Uint8Array(32).fill(7) };
      const next = await openStore(
        { url, mirror: "full", migrateWhenEmpty: false },
        { clock: store.clock, vault: createVault([newKey, oldKey]) },
      );
      expect(await next.keyRotation.usage()).toEqual([
        { keyId: "test-key", secrets: 4, isKnown: true },
      ]);
      await runOnDatabase(
        url,
        "update webhooks set secret_sealed = 'v1.lost-key.a.b', secret_key = 'lost-key' where tenant_id = 'globex'",
      );
      expect(await next.keyRotation.rotateSome({ after: undefined, limit: 100 })).toEqual({
        rotated: 3,
        unopened: ["the webhook of globex"],
        next: undefined,
      });
      await next.close();
      const after = await openStore(
        { url, mirror: "full", migrateWhenEmpty: false },
        { clock: store.clock, vault: createVault([newKey]) },
      );
      const claims = await after.webhooks.claimDue({
        now: store.now(),
        limit: 10,
        leaseMs: LEASE_MS,
      });
      const secrets = new Map(claims.map((one) => [String(one.tenantId), one.secret]));
      expect(secrets.get("acme")).toMatch(/^whsec_/);
      expect(secrets.has("globex")).toBe(true);
      expect(secrets.get("globex")).toBeUndefined();
      await after.close();
    });
  });
}
