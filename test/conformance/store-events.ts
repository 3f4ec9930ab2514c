import { describe, expect, test } from "vitest";
import { epochMs, type EpochMs } from "../../src/core/clock.ts";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import { calendarId, type CalendarId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import {
  event,
  exception,
  HOUR_MS,
  idsOf,
  openTestStore,
  series,
  tombstone,
  type TestStore,
} from "./store-fixture.ts";

function at(text: string): EpochMs {
  return epochMs(Date.parse(text));
}

async function inRange(
  [store, id]: [TestStore, CalendarId],
  from: string,
  to: string,
): Promise<readonly string[]> {
  const read = await store.events.readEvents(
    id,
    { from: at(from), to: at(to), limit: 100 },
    store.now(),
  );
  if (read.kind !== "events") throw new Error(read.kind);
  return idsOf(read.events);
}

/** What is published, and what readers see of it. */
export function eventConformance(freshDatabase: FreshDatabase): void {
  async function published(items: readonly GoogleEvent[]): Promise<[TestStore, CalendarId]> {
    const store = await openTestStore(await freshDatabase());
    const id = await store.connectOne();
    await store.refresh(id, { items });
    return [store, id];
  }

  describe("the published copy", () => {
    test("I4: a calendar that was never published shows nothing and says never", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const { lease } = await store.begin(id);
      await store.stage(lease, { items: [event("half")] });
      expect(await store.events.readEvents(id, { limit: 10 }, store.now())).toEqual({
        kind: "events",
        freshness: {
          state: "never",
          reason: undefined,
          generation: 0,
          syncedAt: undefined,
          ageMs: undefined,
          pending: false,
        },
        events: [],
        next: undefined,
      });
    });

    test("I4: what is staged is not seen until it is published", async () => {
      const [store, id] = await published([event("a"), event("b")]);
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      const { lease } = await store.begin(id);
      await store.stage(lease, { items: [event("c")] });
      expect(idsOf(await store.readAll(id))).toEqual(["a", "b"]);
      await store.publish(lease, { isFirst: false, items: [event("d")] });
      expect(idsOf(await store.readAll(id))).toEqual(["c", "d"]);
    });

    test("I4: readers beside a publish see one generation or the other, whole", async () => {
      const before = Array.from({ length: 300 }, (_, n) => event(`old${n}`));
      const after = Array.from({ length: 300 }, (_, n) => event(`new${n}`));
      const [store, id] = await published(before);
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      const { lease } = await store.begin(id);
      const progress = { isDone: false };
      const publishing = store.publish(lease, { items: after }).finally(() => {
        progress.isDone = true;
      });
      const seen = new Set<string>();
      while (!progress.isDone) {
        const read = await store.events.readEvents(id, { limit: 1_000 }, store.now());
        if (read.kind !== "events") throw new Error(read.kind);
        const kinds = new Set(read.events.map((item) => item.id.slice(0, 3)));
        seen.add(`${read.freshness.generation}:${[...kinds].join("+")}:${read.events.length}`);
      }
      await publishing;
      for (const sight of seen) expect(["1:old:300", "2:new:300"]).toContain(sight);
      expect(idsOf(await store.readAll(id))).toHaveLength(300);
    });

    test("events are read by their ids, whatever these are; what is not there is left out", async () => {
      const [store, id] = await published([event("a"), event("b"), event("nul \u0000")]);
      const read = async (ids: readonly string[]): Promise<readonly string[]> => {
        const found = await store.events.readEvents(id, { ids, limit: 10 }, store.now());
        if (found.kind !== "events") throw new Error(found.kind);
        return idsOf(found.events);
      };
      expect(await read(["b", "nul \u0000", "c", "' or true --"])).toHaveLength(2);
      expect(await read(["b"])).toEqual(["b"]);
      expect(await read([])).toEqual([]);
    });

    test("a full read removes what is absent and counts the differences", async () => {
      const [store, id] = await published([event("a"), event("b"), event("c")]);
      const result = await store.refresh(id, {
        items: [event("a"), event("b", { summary: "changed" }), event("d")],
      });
      expect(result).toEqual({
        kind: "published",
        generation: 2,
        changes: { inserted: 1, updated: 1, deleted: 1 },
      });
      expect(idsOf(await store.readAll(id))).toEqual(["a", "b", "d"]);
    });

    test("a full read that holds nothing empties the copy", async () => {
      const [store, id] = await published([event("a")]);
      expect(await store.refresh(id, { items: [] })).toMatchObject({ changes: { deleted: 1 } });
      expect(await store.readAll(id)).toEqual([]);
    });

    test("unchanged events are not written again, and nothing changed keeps the generation", async () => {
      const [store, id] = await published([event("a", { etag: "1", summary: "first" })]);
      await store.clock.advance(1_000);
      const result = await store.refresh(id, {
        items: [event("a", { etag: "1", summary: "same etag, so never looked at" })],
      });
      expect(result).toEqual({
        kind: "published",
        generation: 1,
        changes: { inserted: 0, updated: 0, deleted: 0 },
      });
      expect(await store.readAll(id)).toMatchObject([{ summary: "first" }]);
    });

    test("an empty delta moves token, marks and age, but not the generation", async () => {
      const [store, id] = await published([event("a")]);
      await store.clock.advance(5_000);
      await store.refresh(id, { kind: "incremental", items: [], syncToken: "token-2" });
      const row = await store.calendars.get(id);
      expect(row).toMatchObject({
        generation: 1,
        publishedAt: store.later(-5_000),
        currentAsOf: store.now(),
        dueAt: store.later(HOUR_MS),
        dueReason: "poll",
      });
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      expect((await store.begin(id)).state.syncToken).toBe("token-2");
    });

    test("an event without an etag is compared by its body", async () => {
      const bare = { id: "a", start: { date: "2026-01-05" } };
      const [store, id] = await published([bare]);
      expect(await store.refresh(id, { kind: "incremental", items: [bare] })).toMatchObject({
        generation: 1,
      });
      expect(
        await store.refresh(id, { kind: "incremental", items: [{ ...bare, summary: "x" }] }),
      ).toMatchObject({ generation: 2, changes: { updated: 1 } });
    });

    test("a cancelled exception is kept while its series lives, and hides nothing afterwards", async () => {
      const [store, id] = await published([series("s"), event("e")]);
      const hide = tombstone("s_1", {
        recurringEventId: "s",
        originalStartTime: { dateTime: "2026-01-06T10:00:00Z" },
      });
      await store.refresh(id, { kind: "incremental", items: [hide] });
      expect(idsOf(await store.readAll(id))).toEqual(["e", "s", "s_1"]);
      // The series becomes a single event: nothing is left to hide an instance of.
      await store.refresh(id, { kind: "incremental", items: [event("s")] });
      expect(idsOf(await store.readAll(id))).toEqual(["e", "s"]);
    });

    test("a cancelled exception of a series that is not stored is a deletion", async () => {
      const [store, id] = await published([event("e"), exception("x_1", "x")]);
      const result = await store.refresh(id, {
        kind: "incremental",
        items: [
          tombstone("x_1", { recurringEventId: "x" }),
          tombstone("y", { recurringEventId: "z" }),
        ],
      });
      expect(result).toMatchObject({ changes: { inserted: 0, updated: 0, deleted: 1 } });
      expect(idsOf(await store.readAll(id))).toEqual(["e"]);
    });

    test("deleting a series deletes its exceptions, but for those the same listing holds", async () => {
      const [store, id] = await published([
        series("s"),
        exception("s_1", "s"),
        exception("s_2", "s"),
        tombstone("s_3", { recurringEventId: "s" }),
        event("other"),
      ]);
      expect(idsOf(await store.readAll(id))).toHaveLength(5);
      await store.refresh(id, {
        kind: "incremental",
        items: [tombstone("s"), exception("s_2", "s", { summary: "on its own now" })],
      });
      expect(idsOf(await store.readAll(id))).toEqual(["other", "s_2"]);
    });

    test("a change seen twice in one listing counts as the later page says", async () => {
      const [store, id] = await published([event("a")]);
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      const { lease } = await store.begin(id);
      await store.stage(lease, { kind: "incremental", items: [event("a", { summary: "1" })] });
      await store.publish(lease, {
        kind: "incremental",
        isFirst: false,
        items: [event("a", { summary: "2" }), event("a", { summary: "3" })],
      });
      expect(await store.readAll(id)).toMatchObject([{ summary: "3" }]);
    });

    test("a listing of thousands is published whole, on the first read and on a later one", async () => {
      const all = Array.from({ length: 2_500 }, (_, n) => event(`e${n}`));
      const [store, id] = await published(all);
      expect(await store.readAll(id)).toHaveLength(2_500);
      const result = await store.refresh(id, {
        items: all.map((item) => event(item.id, { summary: "all changed" })),
      });
      expect(result).toMatchObject({ changes: { inserted: 0, updated: 2_500, deleted: 0 } });
    });
  });

  describe("malformed events", () => {
    test("are kept as they came, and found in every range", async () => {
      const odd: GoogleEvent[] = [
        { id: "no-start", status: "confirmed", etag: "1" },
        { id: "null-start", start: null, end: null },
        { id: "bad-start", start: { dateTime: "yesterday-ish" } },
        { id: "nul-\0-id", summary: "nul \0 in a title", start: { date: "2026-01-05" } },
        { id: "lone-\ud800-surrogate", summary: "\udfff" },
        { id: "émoji-🎻-ünïcode", summary: "🎻" },
        {
          id: "odd-fields",
          recurrence: [],
          attendees: [{ email: "x@example.test" }],
          extra: { a: [1] },
        },
        { id: "bad-rule", start: { date: "2026-01-05" }, recurrence: ["RRULE:FREQ=", "nonsense"] },
      ];
      const [store, id] = await published(odd);
      const stored = await store.readAll(id);
      expect(stored).toHaveLength(odd.length);
      expect(stored).toEqual(expect.arrayContaining(odd));
      const read = await store.events.readEvents(
        id,
        { from: epochMs(Date.UTC(2030, 0)), to: epochMs(Date.UTC(2030, 1)), limit: 100 },
        store.now(),
      );
      if (read.kind !== "events") throw new Error(read.kind);
      const found = idsOf(read.events);
      for (const name of ["no-start", "null-start", "bad-start", "bad-rule"]) {
        expect(found).toContain(name);
      }
      // A second, equal listing changes nothing: the odd keys are the same keys.
      expect(await store.refresh(id, { items: odd })).toMatchObject({ generation: 1 });
      await store.refresh(id, { kind: "incremental", items: [tombstone("nul-\0-id")] });
      expect(await store.readAll(id)).toHaveLength(odd.length - 1);
    });

    test("a description of 1 MB is stored and read", async () => {
      const description = "ä".repeat(1_000_000);
      const [store, id] = await published([event("big", { description })]);
      const [big] = await store.readAll(id);
      expect(big?.["description"]).toBe(description);
    });
  });

  describe("reading events", () => {
    test("facts of calendars say whose they are, how fresh, and that something newer is announced", async () => {
      const [store, id] = await published([event("a")]);
      const nobody = calendarId("cal_nobody00");
      expect(await store.events.readFacts([id, nobody], store.now())).toEqual([
        {
          calendarId: id,
          tenantId: "acme",
          timeZone: "Europe/Madrid",
          freshness: {
            state: "fresh",
            reason: undefined,
            generation: 1,
            syncedAt: store.now(),
            ageMs: 0,
            pending: false,
          },
        },
      ]);
      await store.calendars.request(id, { class: "interactive", dueAt: store.now() });
      await store.clock.advance(200_000);
      const [facts] = await store.events.readFacts([id], store.now());
      expect(facts?.freshness).toMatchObject({ state: "stale", ageMs: 200_000, pending: true });
      await store.refresh(id, { items: [event("a")] });
      const [after] = await store.events.readFacts([id], store.now());
      expect(after?.freshness).toMatchObject({ state: "fresh", ageMs: 0, pending: false });
      expect(await store.events.readFacts([], store.now())).toEqual([]);
    });

    test("pages by key, each bounded, together complete", async () => {
      const [store, id] = await published(
        Array.from({ length: 25 }, (_, n) => event(`e${String(n).padStart(2, "0")}`)),
      );
      const pages: number[] = [];
      const seen: string[] = [];
      for (let after: string | undefined; ;) {
        const read = await store.events.readEvents(id, { limit: 10, after }, store.now());
        if (read.kind !== "events") throw new Error(read.kind);
        pages.push(read.events.length);
        seen.push(...idsOf(read.events));
        if (read.next === undefined) break;
        after = read.next;
      }
      expect(pages).toEqual([10, 10, 5]);
      expect(new Set(seen).size).toBe(25);
    });

    test("a range holds what may touch it, series included until their last possible end", async () => {
      const place = await published([
        event("before"),
        event("inside", {
          start: { dateTime: "2026-03-10T10:00:00Z" },
          end: { dateTime: "2026-03-10T11:00:00Z" },
        }),
        event("across", {
          start: { dateTime: "2026-02-27T10:00:00Z" },
          end: { dateTime: "2026-03-02T11:00:00Z" },
        }),
        event("after", {
          start: { dateTime: "2026-05-01T10:00:00Z" },
          end: { dateTime: "2026-05-01T11:00:00Z" },
        }),
        series("endless"),
        series("until-january", { recurrence: ["RRULE:FREQ=DAILY;UNTIL=20260120T000000Z"] }),
        series("until-april", { recurrence: ["RRULE:FREQ=WEEKLY;BYDAY=MO;UNTIL=20260401"] }),
        series("ten-days", { recurrence: ["RRULE:FREQ=DAILY;COUNT=10"] }),
        series("ten-months", { recurrence: ["RRULE:FREQ=MONTHLY;COUNT=10"] }),
        series("rare", { recurrence: ["RRULE:FREQ=MONTHLY;BYDAY=5FR;COUNT=2"] }),
        series("long-before", {
          start: { dateTime: "2026-06-01T10:00:00Z" },
          end: { dateTime: "2026-06-01T11:00:00Z" },
          recurrence: ["RDATE:20260311T100000Z/PT1H"],
        }),
        series("extra-date", { recurrence: ["RDATE;TZID=Europe/Madrid:20260310T100000"] }),
      ]);
      expect(await inRange(place, "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")).toEqual([
        "across",
        "endless",
        "extra-date",
        "inside",
        "long-before",
        "rare",
        "ten-months",
        "until-april",
      ]);
    });

    test("an all-day event is found wherever in the world its day is", async () => {
      const place = await published([
        event("day", { start: { date: "2026-03-10" }, end: { date: "2026-03-11" } }),
      ]);
      // The 10th begins in Kiritimati (UTC+14) at 10:00 UTC of the 9th and ends on Baker Island at noon of the 11th.
      expect(await inRange(place, "2026-03-09T10:00:00Z", "2026-03-09T10:30:00Z")).toEqual(["day"]);
      expect(await inRange(place, "2026-03-11T11:30:00Z", "2026-03-11T12:00:00Z")).toEqual(["day"]);
      expect(await inRange(place, "2026-03-08T00:00:00Z", "2026-03-09T09:00:00Z")).toEqual([]);
    });

    test("an exception is found where it is and where its instance would have been", async () => {
      const place = await published([
        series("s"),
        exception("moved", "s", {
          originalStartTime: { dateTime: "2026-03-10T10:00:00Z" },
          start: { dateTime: "2026-06-01T10:00:00Z" },
          end: { dateTime: "2026-06-01T11:00:00Z" },
        }),
        tombstone("hidden", {
          recurringEventId: "s",
          originalStartTime: { dateTime: "2026-03-10T10:00:00Z" },
        }),
      ]);
      expect(await inRange(place, "2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z")).toEqual([
        "moved",
        "s",
      ]);
      // The range begins while that instance, an hour long, would have been running.
      expect(await inRange(place, "2026-03-10T10:30:00Z", "2026-03-10T12:00:00Z")).toEqual([
        "hidden",
        "moved",
        "s",
      ]);
      expect(await inRange(place, "2026-04-01T00:00:00Z", "2026-04-02T00:00:00Z")).toEqual(["s"]);
    });

    test("I11: says how old the copy is, and when it is stale", async () => {
      const [store, id] = await published([event("a")]);
      await store.clock.advance(60_000);
      const fresh = await store.events.readEvents(id, { limit: 1 }, store.now());
      expect(fresh).toMatchObject({
        freshness: { state: "fresh", ageMs: 60_000, generation: 1, syncedAt: store.later(-60_000) },
      });
      await store.clock.advance(2 * HOUR_MS);
      const stale = await store.events.readEvents(id, { limit: 1 }, store.now());
      expect(stale).toMatchObject({ freshness: { state: "stale" } });
    });
  });

  describe("a busy mirror", () => {
    test("keeps no titles, attendees or places, and its own answer", async () => {
      const store = await openTestStore(await freshDatabase(), { mirror: "busy" });
      const id = await store.connectOne();
      await store.refresh(id, {
        items: [
          event("a", {
            summary: "Layoffs",
            location: "Room 1",
            transparency: "transparent",
            attendees: [
              { email: "boss@example.test", responseStatus: "accepted" },
              { email: "ann@example.test", self: true, responseStatus: "declined" },
            ],
          }),
        ],
      });
      const [stored] = await store.readAll(id);
      expect(stored).toMatchObject({
        id: "a",
        transparency: "transparent",
        attendees: [{ self: true, responseStatus: "declined" }],
      });
      expect(JSON.stringify({ ...stored, etag: undefined })).not.toMatch(/Layoffs|Room|example/);
      expect((await store.calendars.get(id))?.summary).toBeUndefined();
    });

    test("a mirror that becomes busy writes events of the same version anew", async () => {
      const url = await freshDatabase();
      const full = await openTestStore(url);
      const id = await full.connectOne();
      const items = [event("a", { etag: "1", summary: "Layoffs" })];
      await full.refresh(id, { items });
      const busy = await openTestStore(url, { mirror: "busy", clock: full.clock });
      expect(await busy.refresh(id, { items })).toMatchObject({ changes: { updated: 1 } });
      expect(JSON.stringify(await busy.readAll(id))).not.toContain("Layoffs");
    });
  });
}
