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
      expect(first.told).toEqual(["calendar-added", "calendar-replaced"]);

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
      expect((await readFrom(store, tenantId("globex"), 0)).told).toEqual(["calendar-added"]);
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
      expect(await store.changes.forget(epochMs(store.now() - 5_000), 100)).toBe(2);
      expect(await store.changes.read(ACME, { after: 0, limit: 10 })).toEqual({
        kind: "forgotten",
      });
      expect((await readFrom(store, ACME, next)).told).toEqual(["event-created b"]);
      expect(await store.changes.forget(epochMs(store.now() + 1), 100)).toBe(1);
      expect(await store.changes.head(ACME)).toBeGreaterThan(next);
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
