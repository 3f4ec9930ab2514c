import { describe, expect, test } from "vitest";
import type { FreshDatabase } from "./store-conformance.ts";
import { openTestStore } from "./store-fixture.ts";

function idsOf(rows: readonly { readonly id: string }[]): string[] {
  return rows.map(({ id }) => id);
}

/** Push channels: kept from before they are asked for until Google has ended them. */
export function channelConformance(freshDatabase: FreshDatabase): void {
  describe("channels", () => {
    test("are known before Google answers, live from its answer on, and gone when removed", async () => {
      const store = await openTestStore(await freshDatabase());
      const calendarId = await store.connectOne();
      await store.channels.add({ id: "ch-1", calendarId, createdAt: store.now() });
      expect(await store.channels.get("ch-1")).toEqual({
        id: "ch-1",
        calendarId,
        state: "opening",
        resourceId: undefined,
        expiresAt: undefined,
        createdAt: store.now(),
        lastMessageAt: undefined,
      });

      const answer = { resourceId: "resource-9", expiresAt: store.later(1_000) };
      expect(await store.channels.confirm("ch-1", answer)).toBe(true);
      expect(await store.channels.confirm("ch-nobody", answer)).toBe(false);
      await store.channels.noteMessage("ch-1", store.now());
      await store.channels.markStopping("ch-1");
      expect(await store.channels.get("ch-1")).toMatchObject({
        ...answer,
        state: "stopping",
        lastMessageAt: store.now(),
      });

      await store.channels.remove("ch-1");
      expect(await store.channels.get("ch-1")).toBeUndefined();
    });

    test("overlap on one calendar, and those that end first are found first", async () => {
      const store = await openTestStore(await freshDatabase());
      const calendarId = await store.connectOne();
      for (const [id, inMs] of Object.entries({ late: 9_000, soon: 1_000, sooner: 500 })) {
        await store.channels.add({ id, calendarId, createdAt: store.now() });
        await store.channels.confirm(id, { resourceId: id, expiresAt: store.later(inMs) });
      }
      await store.channels.add({ id: "unanswered", calendarId, createdAt: store.later(1) });
      expect(idsOf(await store.channels.listOfCalendar(calendarId))).toEqual([
        "late",
        "soon",
        "sooner",
        "unanswered",
      ]);
      expect(idsOf(await store.channels.listExpiring(store.later(5_000), 10))).toEqual([
        "sooner",
        "soon",
      ]);
      expect(idsOf(await store.channels.listExpiring(store.later(5_000), 1))).toEqual(["sooner"]);
    });
  });
}
