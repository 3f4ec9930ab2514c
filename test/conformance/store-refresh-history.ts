import { describe, expect, test } from "vitest";
import type { RefreshRun } from "../../src/core/refresh-history.ts";
import { calendarId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { event, must, openTestStore, type TestStore } from "./store-fixture.ts";

const runAt = (store: TestStore, changes: Partial<RefreshRun> = {}): RefreshRun => ({
  kind: "incremental",
  at: store.now(),
  class: "poll",
  requests: 1,
  ...changes,
});

/** What is kept of a calendar's last refreshes. */
export function refreshHistoryConformance(freshDatabase: FreshDatabase): void {
  describe("the history of refreshes", () => {
    test("a publish and a postponement are kept with what they did, the latest first", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, {
        items: [event("a"), event("b")],
        run: runAt(store, { kind: "full", requests: 2 }),
      });
      const published = store.now();
      await store.clock.advance(5_000);
      await store.calendars.request(id, { class: "push", dueAt: store.now() });
      const { lease } = await store.begin(id);
      await store.postpone(lease, {
        failure: { code: "GCAL_UNAVAILABLE", consecutive: 1 },
        run: runAt(store, { class: "push", requests: 3, code: "GCAL_UNAVAILABLE" }),
      });
      expect(await store.refreshHistory.of(id)).toEqual({
        leaseUntil: undefined,
        lastFailureCode: "GCAL_UNAVAILABLE",
        refreshes: [
          {
            kind: "incremental",
            at: store.now(),
            class: "push",
            outcome: "postponed",
            code: "GCAL_UNAVAILABLE",
            changes: 0,
            requests: 3,
          },
          {
            kind: "full",
            at: published,
            class: "poll",
            outcome: "published",
            code: undefined,
            changes: 2,
            requests: 2,
          },
        ],
      });
    });

    test("the last 20 of each calendar are kept, and another's are left alone", async () => {
      const store = await openTestStore(await freshDatabase());
      const { calendars } = await store.connect("acme", "ann", ["busy@x.test", "quiet@x.test"]);
      const [busy, quiet] = [must(calendars[0]), must(calendars[1])];
      await store.refresh(quiet, { run: runAt(store) });
      for (let n = 1; n <= 23; n += 1) {
        await store.refresh(busy, { run: runAt(store, { requests: n }) });
      }
      const kept = must(await store.refreshHistory.of(busy)).refreshes;
      expect(kept.map(({ requests }) => requests)).toEqual(
        Array.from({ length: 20 }, (_, index) => 23 - index),
      );
      expect(must(await store.refreshHistory.of(quiet)).refreshes).toHaveLength(1);
    });

    test("who was fenced out leaves no trace, and who holds the lease is told", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const stalled = await store.begin(id);
      const { leaseUntil } = must(await store.refreshHistory.of(id));
      await store.clock.advance(must(leaseUntil) - store.now() + 1);
      await store.begin(id);
      expect(await store.publish(stalled.lease, { run: runAt(store) })).toEqual({
        kind: "fenced-out",
      });
      expect(await store.postpone(stalled.lease, { run: runAt(store, { code: "X" }) })).toBe(
        "fenced-out",
      );
      expect(must(await store.refreshHistory.of(id)).refreshes).toEqual([]);
      expect(await store.refreshHistory.of(calendarId("cal_nosuchcalendar"))).toBeUndefined();
    });
  });
}
