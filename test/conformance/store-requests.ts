import { describe, expect, test } from "vitest";
import type { RefreshRequest } from "../../src/core/calendar-store.ts";
import { calendarId } from "../../src/core/ids.ts";
import type { RequestClass } from "../../src/core/request.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { must, openTestStore, type TestStore } from "./store-fixture.ts";

function wish(
  store: TestStore,
  id: string,
  requestClass: RequestClass = "interactive",
): RefreshRequest {
  return { calendarId: calendarId(id), class: requestClass, dueAt: store.now() };
}

/** Wishes of many at once. */
export function requestConformance(freshDatabase: FreshDatabase): void {
  describe("wishes together", () => {
    test("I6: are one mark until a refresh begins to serve it, and another one after", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const ask = async (): Promise<unknown> => {
        await store.clock.advance(10);
        return (await store.calendars.requestMany([wish(store, id)]))[0];
      };
      expect(await ask()).toEqual({ kind: "marked", mark: 1 });
      expect(await ask()).toEqual({ kind: "marked", mark: 1 });
      const { lease, state } = await store.begin(id);
      expect(await ask()).toEqual({ kind: "marked", mark: 2 });
      expect(await ask()).toEqual({ kind: "marked", mark: 2 });
      await store.publish(lease, { served: state.requested });
      expect(await store.calendars.get(id)).toMatchObject({ requested: 2, served: 1 });
      expect(await ask()).toEqual({ kind: "marked", mark: 2 });
      const next = await store.begin(id);
      expect(next.state.requested).toBe(2);
      await store.publish(next.lease, { served: next.state.requested });
      expect(await ask()).toEqual({ kind: "marked", mark: 3 });
    });

    test("a more urgent wish, an earlier one and a full one are marked anew", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const later = { ...wish(store, id, "poll"), dueAt: store.later(5_000) };
      const marks: unknown[] = [];
      for (const one of [
        later,
        wish(store, id, "poll"),
        wish(store, id),
        wish(store, id, "poll"),
        { ...wish(store, id), mode: "full" as const },
      ]) {
        marks.push(...(await store.calendars.requestMany([one])));
      }
      expect(marks).toMatchObject([1, 2, 3, 3, 4].map((mark) => ({ kind: "marked", mark })));
      expect(await store.calendars.get(id)).toMatchObject({
        dueAt: store.now(),
        dueClass: "interactive",
      });
      expect((await store.begin(id)).state.requestedMode).toBe("full");
    });

    test("a row put off since is made due again, and a slowed one is lifted by a person alone", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const { lease } = await store.begin(id);
      await store.calendars.requestMany([wish(store, id, "poll")]);
      await store.postpone(lease, {
        dueAt: store.later(60_000),
        state: { kind: "slowed", reason: "BALLAST_TEST" },
      });
      expect(await store.calendars.requestMany([wish(store, id, "poll")])).toMatchObject([
        { mark: 1 },
      ]);
      expect(await store.calendars.get(id)).toMatchObject({ state: "slowed" });
      expect(await store.calendars.requestMany([wish(store, id)])).toMatchObject([{ mark: 2 }]);
      expect(await store.calendars.get(id)).toMatchObject({ state: "never", dueAt: store.now() });
    });

    test("of several calendars are answered in their order, each as it is", async () => {
      const store = await openTestStore(await freshDatabase());
      const { calendars } = await store.connect("acme", "ann", ["a", "b"]);
      const paused = await store.connect("acme", "bob", ["c"]);
      const by = { actor: "olga", now: store.now() };
      await store.accounts.setOperatorPause(paused.account.id, { reason: "hold" }, by);
      const [a, b, c] = [must(calendars[0]), must(calendars[1]), must(paused.calendars[0])];
      await store.calendars.requestMany([wish(store, b)]);
      expect(
        await store.calendars.requestMany([c, b, "cal_none", a].map((id) => wish(store, id))),
      ).toEqual([
        { kind: "not-refreshable" },
        { kind: "marked", mark: 1 },
        { kind: "unknown-calendar" },
        { kind: "marked", mark: 1 },
      ]);
    });

    test("many at once for the same rows, in any order, lose nothing and lock nobody out", async () => {
      const store = await openTestStore(await freshDatabase());
      const names = Array.from({ length: 40 }, (_, at) => `g${String(at)}`);
      const { calendars } = await store.connect("acme", "ann", names);
      const wishes = calendars.map((id) => wish(store, id));
      const outcomes = await Promise.all(
        [wishes, wishes.toReversed(), wishes, wishes.toReversed()].map((all) =>
          store.calendars.requestMany(all),
        ),
      );
      expect(new Set(outcomes.flat().map(({ kind }) => kind))).toEqual(new Set(["marked"]));
      const rows = await store.calendars.list({ limit: 100 });
      expect(new Set(rows.map(({ requested }) => requested))).toEqual(new Set([1]));
    });
  });
}
