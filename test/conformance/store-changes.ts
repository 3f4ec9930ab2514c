import { describe, expect, test } from "vitest";
import type { ChangePosition } from "../../src/core/change-store.ts";
import { epochMs } from "../../src/core/clock.ts";
import { tenantId, type CalendarId, type TenantId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { event, must, openTestStore, tombstone, type TestStore } from "./store-fixture.ts";

const ACME = tenantId("acme");

async function readFrom(
  store: TestStore,
  tenant: TenantId,
  after: ChangePosition,
): Promise<{ readonly told: readonly string[]; readonly next: ChangePosition }> {
  const read = await store.changes.read(tenant, { after, limit: 1_000 });
  if (read.kind === "forgotten") throw new Error("forgotten");
  return {
    told: read.changes.map((change) =>
      "eventId" in change ? `${change.kind} ${change.eventId}` : change.kind,
    ),
    next: read.next,
  };
}

/** What changed, in the order of commits. */
export function changeConformance(freshDatabase: FreshDatabase): void {
  describe("changes", () => {
    test("name each event that a publish has changed, and a calendar that is new as a whole", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { items: [event("a"), event("b")] });
      const first = await readFrom(store, ACME, 0);
      expect(first.told).toEqual(["account-connected", "calendar-added", "calendar-replaced"]);

      await store.refresh(id, {
        kind: "incremental",
        items: [event("a", { summary: "Moved" }), tombstone("b"), event("c")],
      });
      const second = await readFrom(store, ACME, first.next);
      expect(second.told).toEqual(["event-deleted b", "event-created c", "event-updated a"]);
      expect(await readFrom(store, ACME, second.next)).toEqual({ told: [], next: second.next });
      expect(await store.changes.head(ACME)).toBe(second.next);
    });

    test("are none where nothing differs, and none of another tenant's", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { items: [event("a")] });
      const { next } = await readFrom(store, ACME, 0);
      await store.refresh(id, { kind: "incremental", items: [event("a")] });
      await store.connect("globex", "gil", ["gil@example.test"]);
      expect((await readFrom(store, ACME, next)).told).toEqual([]);
      expect((await readFrom(store, tenantId("globex"), 0)).told).toEqual([
        "account-connected",
        "calendar-added",
      ]);
    });

    test("too many to name are told as a calendar to read again", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { items: [event("a")] });
      const { next } = await readFrom(store, ACME, 0);
      const items = Array.from({ length: 1_001 }, (_, index) => event(`many-${String(index)}`));
      await store.refresh(id, { kind: "incremental", items });
      expect((await readFrom(store, ACME, next)).told).toEqual(["calendar-replaced"]);
    });

    test("a change that commits late is not skipped by a reader who was faster", async () => {
      const store = await openTestStore(await freshDatabase());
      const { calendars } = await store.connect("acme", "ann", ["one", "two", "three", "four"]);
      for (const id of calendars) await store.refresh(id, { items: [event("start")] });
      const seen = new Set<string>();
      let after = await store.changes.head(ACME);
      const over = new AbortController();
      const follow = async (): Promise<void> => {
        while (!over.signal.aborted) {
          const read = await store.changes.read(ACME, { after, limit: 7 });
          if (read.kind === "forgotten") throw new Error("forgotten");
          for (const change of read.changes) {
            if ("eventId" in change) seen.add(change.eventId);
          }
          after = read.next;
        }
      };
      const following = follow();
      const publishMany = async (id: CalendarId, of: number): Promise<void> => {
        for (let round = 0; round < 15; round += 1) {
          await store.refresh(id, {
            kind: "incremental",
            items: [event(`e-${String(of)}-${String(round)}`)],
          });
        }
      };
      await Promise.all(calendars.map((id, of) => publishMany(id, of)));
      over.abort();
      await following;
      const { told } = await readFrom(store, ACME, after);
      const missed = told.map((one) => one.split(" ")[1]);
      expect(new Set([...seen, ...missed]).size).toBe(60);
    });

    test("what was forgotten is said, and where to go on is known", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { items: [event("a")] });
      const { next } = await readFrom(store, ACME, 0);
      await store.clock.advance(10_000);
      await store.refresh(id, { kind: "incremental", items: [event("b")] });
      expect(await store.changes.forget(epochMs(store.now() - 5_000), 100)).toBe(3);
      expect(await store.changes.read(ACME, { after: 0, limit: 10 })).toEqual({
        kind: "forgotten",
      });
      expect((await readFrom(store, ACME, next)).told).toEqual(["event-created b"]);
      expect(await store.changes.forget(epochMs(store.now() + 1), 100)).toBe(1);
      expect(await store.changes.head(ACME)).toBeGreaterThan(next);
    });

    test("what becomes of an account is told once, with the state it came into and why", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account } = await store.connect("acme", "ann", []);
      const { id } = account;
      const by = { actor: "olga", now: store.now() };
      expect(await store.accounts.markNeedsReconnect(id, "revoked")).toBe(true);
      expect(await store.accounts.markNeedsReconnect(id, "revoked")).toBe(false);
      await store.accounts.setOperatorPause(id, { reason: "legal hold" }, by);
      await store.accounts.setOperatorPause(id, { reason: "legal hold" }, by);
      const connection = {
        projectId: account.projectId,
        tenantId: ACME,
        name: account.name,
        quotaUser: undefined,
        refreshToken: "token-2",
        scopes: [],
        now: store.now(),
      };
      await store.accounts.connect(connection);
      await store.accounts.connect(connection);
      await store.accounts.setOperatorPause(id, undefined, by);
      await store.accounts.setOperatorPause(id, undefined, by);
      const read = await store.changes.read(ACME, { after: 0, limit: 100 });
      if (read.kind === "forgotten") throw new Error("forgotten");
      const none = undefined;
      const at = store.now();
      expect(read.changes).toEqual([
        { kind: "account-connected", accountId: id, state: "connected", reason: none, at },
        {
          kind: "account-needs-reconnect",
          accountId: id,
          state: "needs-reconnect",
          reason: "revoked",
          at,
        },
        { kind: "account-paused", accountId: id, state: "paused", reason: "legal hold", at },
        // I12: connected again, it is paused still.
        { kind: "account-connected", accountId: id, state: "paused", reason: none, at },
        { kind: "account-resumed", accountId: id, state: "connected", reason: none, at },
      ]);
    });

    test("a wave that is held takes back what was told of the first ones", async () => {
      const store = await openTestStore(await freshDatabase());
      const limits = { windowMs: 300_000, accounts: 1, share: 0, probeEveryMs: 180_000 };
      const first = await store.connect("acme", "ann", []);
      const second = await store.connect("globex", "gil", []);
      const { next } = await readFrom(store, ACME, 0);
      const report = { reason: "revoked", now: store.now(), limits };
      expect(await store.deadGrants.report(first.account.id, report)).toBe("disconnected");
      expect(await store.deadGrants.report(second.account.id, report)).toBe("hold-began");
      expect((await readFrom(store, ACME, next)).told).toEqual([
        "account-needs-reconnect",
        "account-connected",
      ]);
    });

    test("a calendar that two answers say is gone is told as lost", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { items: [event("a")] });
      const { next } = await readFrom(store, ACME, 0);
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      const { lease } = await store.begin(id);
      await store.postpone(lease, { state: { kind: "lost", reason: "GCAL_NOT_FOUND" } });
      expect((await readFrom(store, ACME, next)).told).toEqual(["calendar-lost"]);
    });

    test("a place ahead of the feed is one that was forgotten: the database was set back", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connectOne();
      const head = await store.changes.head(ACME);
      expect(await store.changes.read(ACME, { after: head, limit: 1 })).toEqual({
        kind: "changes",
        changes: [],
        next: head,
      });
      expect(await store.changes.read(ACME, { after: head + 1, limit: 1 })).toEqual({
        kind: "forgotten",
      });
    });

    test("a place that is known to be gone is never the one to begin at, whoever's clock was off", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.clock.advance(60_000);
      await store.refresh(id, { items: [event("a")] });
      const ahead = store.now();
      store.clock.stepWallClock(-30_000);
      await store.refresh(id, { kind: "incremental", items: [event("b")] });
      // The newest goes before the one that was written by the clock that is ahead.
      expect(await store.changes.forget(epochMs(ahead - 1), 100)).toBe(3);
      const head = await store.changes.head(ACME);
      expect(await store.changes.read(ACME, { after: head, limit: 1 })).toMatchObject({
        kind: "changes",
        changes: [],
      });
    });

    test("commits of this process are told at once, and only what was committed", async () => {
      const store = await openTestStore(await freshDatabase());
      const told: string[] = [];
      const end = store.changeNews.subscribe((tenants) => {
        told.push(...tenants);
      });
      const id = await store.connectOne();
      expect(new Set(told)).toEqual(new Set(["acme"]));
      told.length = 0;
      await store.refresh(id, { items: [] });
      expect(told).toEqual(["acme"]);
      await store.refresh(id, { items: [] });
      expect(told).toEqual(["acme"]);
      end();
      await store.refresh(id, { items: [event("a")] });
      expect(told).toEqual(["acme"]);
    });

    test("who waits is found in one question", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connectOne();
      await store.connect("globex", "gil", ["gil@example.test"]);
      const globex = tenantId("globex");
      const head = must(await store.changes.head(globex));
      const positions = new Map([
        [ACME, 0],
        [globex, head],
        [tenantId("nobody"), 0],
      ]);
      expect(await store.changes.waiting(positions)).toEqual([ACME]);
    });
  });
}
