import { join } from "node:path";
import { assert, asyncProperty, constantFrom, integer } from "fast-check";
import { describe, expect, test } from "vitest";
import type { BusyAnswer, BusyQuestion, CalendarReader } from "../../src/core/calendar-reads.ts";
import { QuestionRefused } from "../../src/core/calendar-reads.ts";
import { epochMs, type EpochMs } from "../../src/core/clock.ts";
import type { EventStore } from "../../src/core/event-store.ts";
import { calendarId, tenantId, type CalendarId } from "../../src/core/ids.ts";
import { createCalendarReader } from "../../src/read/calendar-reader.ts";
import {
  event,
  exception,
  openTestStore,
  series,
  type TestStore,
} from "../conformance/store-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const HOUR_MS = 3_600_000;
const NEVER = new AbortController().signal;

function at(text: string): EpochMs {
  return epochMs(Date.parse(text));
}

function shown(ranges: readonly { readonly from: EpochMs; readonly to: EpochMs }[]): string[] {
  return ranges.map(({ from, to }) => `${iso(from)} ${iso(to)}`);
}

function iso(ms: number): string {
  return new Date(ms).toISOString().slice(0, 16);
}

function meeting(id: string, start: string, hours = 1): ReturnType<typeof event> {
  return event(id, {
    start: { dateTime: `${start}:00Z` },
    end: { dateTime: new Date(Date.parse(`${start}:00Z`) + hours * HOUR_MS).toISOString() },
  });
}

interface World {
  readonly store: TestStore;
  readonly reader: CalendarReader;
  /** How often the store was asked for events and for facts. */
  readonly asked: { events: number; facts: number };
  readonly noted: CalendarId[][];
  readonly requested: CalendarId[];
}

async function openWorld(mirror: "full" | "busy" = "full"): Promise<World> {
  const url = `sqlite:${join(await temporaryDirectory(), "db")}`;
  const store = await openTestStore(url, { mirror });
  const asked = { events: 0, facts: 0 };
  const noted: CalendarId[][] = [];
  const requested: CalendarId[] = [];
  const events: EventStore = {
    readEvents: (...args) => {
      asked.events += 1;
      return store.events.readEvents(...args);
    },
    readFacts: (...args) => {
      asked.facts += 1;
      return store.events.readFacts(...args);
    },
  };
  const reader = createCalendarReader({
    events,
    clock: store.clock,
    requestRefresh: (id) => {
      requested.push(id);
      return store.calendars.request(id, { class: "interactive", dueAt: store.now() });
    },
    noteReads: (ids) => {
      noted.push([...ids]);
    },
  });
  return { store, reader, asked, noted, requested };
}

const JANUARY = { from: at("2026-01-05T00:00:00Z"), to: at("2026-01-12T00:00:00Z") };

function busy(
  { reader }: World,
  calendarIds: readonly CalendarId[],
  more: Partial<BusyQuestion> = {},
): Promise<BusyAnswer> {
  return reader.readBusy({ calendarIds, ...JANUARY, tentative: "busy", ...more }, NEVER);
}

function anonymous(answer: BusyAnswer): object {
  return {
    ...answer,
    calendars: answer.calendars.map((one) => ({ ...one, calendarId: undefined })),
  };
}

describe("busy", () => {
  test("is merged within a calendar and over many, clipped to the range, each calendar told apart", async () => {
    const world = await openWorld();
    const { calendars } = await world.store.connect("acme", "ann", ["a@x.example", "b@x.example"]);
    const [a, b] = [calendars[0] ?? calendarId(""), calendars[1] ?? calendarId("")];
    await world.store.refresh(a, {
      items: [
        meeting("around", "2026-01-04T22:00", 3),
        meeting("one", "2026-01-06T10:00"),
        meeting("next", "2026-01-06T11:00"),
      ],
    });
    await world.store.refresh(b, {
      items: [meeting("over", "2026-01-06T11:30"), meeting("late", "2026-01-11T23:30")],
    });
    const answer = await busy(world, [a, b, a]);
    expect(answer.unknown).toEqual([]);
    expect(shown(answer.busy)).toEqual([
      "2026-01-05T00:00 2026-01-05T01:00",
      "2026-01-06T10:00 2026-01-06T12:30",
      "2026-01-11T23:30 2026-01-12T00:00",
    ]);
    expect(answer.calendars.map((one) => [one.calendarId, shown(one.busy).length])).toEqual([
      [a, 2],
      [b, 2],
    ]);
    expect(answer.calendars[0]?.freshness).toMatchObject({ state: "fresh", generation: 1 });
  });

  test("I11: never synced, unknown, lost and stale calendars are unknown, never free", async () => {
    const world = await openWorld();
    const { store } = world;
    const { calendars, account } = await store.connect("acme", "ann", [
      "never@x.example",
      "lost@x.example",
      "good@x.example",
    ]);
    const [never, lost, good] = calendars.map((id) => id);
    if (never === undefined || lost === undefined || good === undefined) throw new Error("none");
    await store.refresh(lost, { items: [meeting("m", "2026-01-06T10:00")] });
    await store.refresh(good, { items: [] });
    // Absent from two lists: access is gone.
    for (let times = 0; times < 2; times++) {
      await store.discover(account.id, {
        entries: ["never@x.example", "good@x.example"].map((googleId) => ({
          googleId,
          summary: undefined,
          timeZone: "UTC",
          accessRole: "owner",
          isPrimary: false,
          isHidden: false,
          isDeleted: false,
        })),
      });
    }
    const nobody = calendarId("cal_nobody00");
    const answer = await busy(world, [never, lost, good, nobody]);
    const reasons = answer.calendars.map(({ unknown }) => [
      ...new Set(unknown.map(({ reason }) => reason)),
    ]);
    expect(reasons).toEqual([["never-synced"], ["lost"], [], ["unknown-calendar"]]);
    // What the lost one's copy says is still said, and what is unknown leaves it out.
    expect(shown(answer.busy)).toEqual(["2026-01-06T10:00 2026-01-06T11:00"]);
    expect(shown(answer.calendars[1]?.unknown ?? [])).toEqual([
      "2026-01-05T00:00 2026-01-06T10:00",
      "2026-01-06T11:00 2026-01-12T00:00",
    ]);
    expect(answer.calendars[3]?.freshness).toBeUndefined();
    await store.clock.advance(30 * HOUR_MS);
    const later = await busy(world, [good]);
    expect(later.unknown).toMatchObject([{ ...JANUARY, reason: "stale" }]);
    // An age that the asker allows is the asker's decision.
    const accepted = await busy(world, [good], { maxAgeMs: 48 * HOUR_MS });
    expect(accepted.unknown).toEqual([]);
    expect(accepted.calendars[0]?.freshness).toMatchObject({
      state: "stale",
      ageMs: 30 * HOUR_MS,
    });
  });

  test("I11: every moment is busy, unknown or free, and never two of them", async () => {
    const world = await openWorld();
    const { calendars } = await world.store.connect("acme", "ann", ["a@x.example", "n@x.example"]);
    const [a, never] = calendars;
    if (a === undefined || never === undefined) throw new Error("none");
    await world.store.refresh(a, {
      items: [
        series("s", { recurrence: ["RRULE:FREQ=DAILY"] }),
        series("odd", { recurrence: ["RRULE:FREQ=NEVER"] }),
        meeting("m", "2026-01-07T09:30"),
      ],
    });
    await assert(
      asyncProperty(
        integer({ min: 0, max: 200 }),
        integer({ min: 1, max: 300 }),
        constantFrom([a], [never], [a, never]),
        async (startHour, quarters, ids) => {
          const from = epochMs(JANUARY.from + startHour * HOUR_MS);
          const to = epochMs(from + (quarters * HOUR_MS) / 4);
          const answer = await busy(world, ids, { from, to });
          for (const one of answer.calendars) {
            const all = [...one.busy, ...one.unknown].toSorted((x, y) => x.from - y.from);
            // Nothing of these calendars is known to be free (an unreadable series, or no copy): what is
            // said covers the range, each moment once.
            expect(all.map((time) => time.from)).toEqual([
              from,
              ...all.slice(0, -1).map((time) => time.to),
            ]);
            expect(all.at(-1)?.to).toBe(to);
          }
          const unknown = answer.unknown.filter((time) =>
            answer.busy.some((taken) => taken.from < time.to && time.from < taken.to),
          );
          expect(unknown).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("a busy mirror answers like a full one", async () => {
    const items = [
      series("s", { summary: "secret", recurrence: ["RRULE:FREQ=DAILY"] }),
      meeting("mine", "2026-01-06T15:00"),
      {
        ...meeting("declined", "2026-01-07T15:00"),
        attendees: [{ self: true, responseStatus: "declined", email: "me@example.test" }],
      },
      { ...meeting("free", "2026-01-08T15:00"), transparency: "transparent" },
      { ...meeting("place", "2026-01-09T00:00", 24), eventType: "workingLocation" },
      exception("s_1", "s", {
        originalStartTime: { dateTime: "2026-01-09T10:00:00Z" },
        start: { dateTime: "2026-01-09T17:00:00Z" },
        end: { dateTime: "2026-01-09T18:00:00Z" },
      }),
    ];
    const answers: string[][] = [];
    for (const mirror of ["full", "busy"] as const) {
      const world = await openWorld(mirror);
      const id = await world.store.connectOne();
      await world.store.refresh(id, { items });
      answers.push(shown((await busy(world, [id])).busy));
    }
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]).toContain("2026-01-09T17:00 2026-01-09T18:00");
    expect(answers[0]).not.toContain("2026-01-09T10:00 2026-01-09T11:00");
    expect(answers[0]).not.toContain("2026-01-07T15:00 2026-01-07T16:00");
  });

  test("another tenant's calendar is answered like one that does not exist", async () => {
    const world = await openWorld();
    const id = await world.store.connectOne();
    await world.store.refresh(id, { items: [meeting("m", "2026-01-06T10:00")] });
    const theirs = await busy(world, [id], { tenantId: tenantId("other") });
    const nobody = await busy(world, [calendarId("cal_nobody00")], { tenantId: tenantId("other") });
    expect(anonymous(theirs)).toEqual(anonymous(nobody));
    expect((await busy(world, [id], { tenantId: tenantId("acme") })).busy).toHaveLength(1);
    const events = { calendarId: id, ...JANUARY, limit: 10, tenantId: tenantId("other") };
    expect(await world.reader.readEvents(events, NEVER)).toEqual({ kind: "unknown-calendar" });
  });

  test("questions that cannot be answered are refused, with a stable code", async () => {
    const world = await openWorld();
    const id = await world.store.connectOne();
    const refused = async (more: Partial<BusyQuestion>): Promise<unknown> => {
      const error: unknown = await busy(world, [id], more).catch((error_: unknown) => error_);
      return error instanceof QuestionRefused ? error.code : error;
    };
    expect(await refused({ to: JANUARY.from })).toBe("range-empty");
    expect(await refused({ to: epochMs(Number.NaN) })).toBe("range-empty");
    expect(await refused({ to: at("2028-01-01T00:00:00Z") })).toBe("range-too-long");
    expect(await refused({ timeZone: "Mars/Olympus" })).toBe("bad-time-zone");
    expect(await refused({ calendarIds: [] })).toBe("too-many-calendars");
    const many = Array.from({ length: 501 }, (_, n) => calendarId(`cal_${n}`));
    expect(await refused({ calendarIds: many })).toBe("too-many-calendars");
    const cursor = { calendarId: id, ...JANUARY, limit: 10, after: "nonsense" };
    await expect(world.reader.readEvents(cursor, NEVER)).rejects.toMatchObject({
      code: "bad-cursor",
    });
    await expect(
      world.reader.readBusy(
        { calendarIds: [id], ...JANUARY, tentative: "busy" },
        AbortSignal.abort(new Error("gone")),
      ),
    ).rejects.toThrow("gone");
  });
});

describe("the cache", () => {
  test("a calendar, window and generation is read once, however many ask, also within a day's beginning", async () => {
    const world = await openWorld();
    const id = await world.store.connectOne();
    await world.store.refresh(id, { items: [meeting("m", "2026-01-06T10:00")] });
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, n) =>
        busy(world, [id], { from: epochMs(JANUARY.from + n * 1_000) }),
      ),
    );
    expect(new Set(answers.map((one) => shown(one.busy).join()))).toEqual(
      new Set(["2026-01-06T10:00 2026-01-06T11:00"]),
    );
    expect(world.asked).toEqual({ events: 1, facts: 1 });
    await world.store.clock.advance(10_000);
    await busy(world, [id]);
    expect(world.asked).toEqual({ events: 1, facts: 2 });
    expect(world.noted).toEqual([[id], [id]]);
    await busy(world, [id], { tentative: "free" });
    expect(world.asked.events).toBe(2);
  });

  test("a publish is seen a fifth of a second later, and read once", async () => {
    const world = await openWorld();
    const id = await world.store.connectOne();
    await world.store.refresh(id, { items: [meeting("m", "2026-01-06T10:00")] });
    expect((await busy(world, [id])).busy).toHaveLength(1);
    await world.store.refresh(id, { items: [] });
    await world.store.clock.advance(200);
    const after = await Promise.all([busy(world, [id]), busy(world, [id])]);
    expect(after.map((one) => one.busy)).toEqual([[], []]);
    expect(after[0].calendars[0]?.freshness?.generation).toBe(2);
    expect(world.asked.events).toBe(2);
  });

  test("a failure is not kept", async () => {
    const { store } = await openWorld();
    const id = await store.connectOne();
    await store.refresh(id, { items: [] });
    const state = { isDown: true };
    const reader = createCalendarReader({
      clock: store.clock,
      events: {
        readEvents: (...args) =>
          state.isDown ? Promise.reject(new Error("down")) : store.events.readEvents(...args),
        readFacts: (...args) => store.events.readFacts(...args),
      },
    });
    const question = { calendarIds: [id], ...JANUARY, tentative: "busy" } as const;
    await expect(reader.readBusy(question, NEVER)).rejects.toThrow("down");
    state.isDown = false;
    expect((await reader.readBusy(question, NEVER)).unknown).toEqual([]);
  });
});

describe("an age that is asked for", () => {
  test("an older copy is refreshed while the asker waits: N askers, one request", async () => {
    const world = await openWorld();
    const { store } = world;
    const id = await store.connectOne();
    await store.refresh(id, { items: [] });
    await store.clock.advance(10 * 60_000);
    const asking = Promise.all(
      Array.from({ length: 20 }, () => busy(world, [id], { maxAgeMs: 60_000 })),
    );
    await expect.poll(() => store.clock.sleepers()).toBe(20);
    expect(world.requested).toEqual([id]);
    const { lease } = await store.begin(id);
    await store.publish(lease, { items: [meeting("new", "2026-01-06T10:00")] });
    await store.clock.advance(300);
    const answers = await asking;
    for (const answer of answers) {
      expect(shown(answer.busy)).toEqual(["2026-01-06T10:00 2026-01-06T11:00"]);
      expect(answer.unknown).toEqual([]);
    }
  });

  test("I11: when no newer copy comes before the deadline the answer says so", async () => {
    const world = await openWorld();
    const { store } = world;
    const id = await store.connectOne();
    await store.refresh(id, { items: [meeting("old", "2026-01-06T10:00")] });
    await store.clock.advance(10 * 60_000);
    const asking = busy(world, [id], { maxAgeMs: 60_000, refreshDeadlineMs: 2_000 });
    await expect.poll(() => store.clock.sleepers()).toBe(1);
    await store.clock.advance(2_100);
    const answer = await asking;
    expect(shown(answer.busy)).toEqual(["2026-01-06T10:00 2026-01-06T11:00"]);
    expect(answer.unknown[0]).toMatchObject({ reason: "older-than-asked" });
    // The wish that was marked shows until it is served.
    expect(answer.calendars[0]?.freshness).toMatchObject({ pending: true });
  });

  test("who hangs up stops waiting, and a young copy is not asked for at all", async () => {
    const world = await openWorld();
    const { store } = world;
    const id = await store.connectOne();
    await store.refresh(id, { items: [] });
    expect((await busy(world, [id], { maxAgeMs: 60_000 })).unknown).toEqual([]);
    expect(world.requested).toEqual([]);
    await store.clock.advance(10 * 60_000);
    const hangUp = new AbortController();
    const asking = world.reader.readBusy(
      { calendarIds: [id], ...JANUARY, tentative: "busy", maxAgeMs: 0 },
      hangUp.signal,
    );
    await expect.poll(() => store.clock.sleepers()).toBe(1);
    hangUp.abort(new Error("hung up"));
    await expect(asking).rejects.toThrow("hung up");
    expect(store.clock.sleepers()).toBe(0);
  });
});

describe("events of a range", () => {
  test("occurrences as Google lists them, in order, page by page", async () => {
    const world = await openWorld();
    const id = await world.store.connectOne();
    await world.store.refresh(id, {
      items: [
        series("s", { summary: "Standup", recurrence: ["RRULE:FREQ=DAILY;COUNT=4"] }),
        meeting("m", "2026-01-06T09:00"),
      ],
    });
    const ids: string[] = [];
    let after: string | undefined;
    do {
      const page = await world.reader.readEvents(
        { calendarId: id, ...JANUARY, limit: 2, after },
        NEVER,
      );
      if (page.kind !== "events") throw new Error(page.kind);
      expect(page.instances.length).toBeLessThanOrEqual(2);
      expect(page.unknown).toEqual([]);
      ids.push(...page.instances.map((one) => one.event.id));
      after = page.next;
    } while (after !== undefined);
    expect(ids).toEqual([
      "s_20260105T100000Z",
      "m",
      "s_20260106T100000Z",
      "s_20260107T100000Z",
      "s_20260108T100000Z",
    ]);
    expect(world.asked.events).toBe(1);
    const whole = await world.reader.readEvents({ calendarId: id, ...JANUARY, limit: 1 }, NEVER);
    expect(whole).toMatchObject({
      instances: [
        {
          event: {
            summary: "Standup",
            recurringEventId: "s",
            originalStartTime: { dateTime: "2026-01-05T11:00:00+01:00" },
          },
        },
      ],
    });
  });

  test("I11: a calendar never synced shows no events and says that it knows none", async () => {
    const world = await openWorld();
    const id = await world.store.connectOne();
    const answer = await world.reader.readEvents({ calendarId: id, ...JANUARY, limit: 10 }, NEVER);
    expect(answer).toMatchObject({
      kind: "events",
      instances: [],
      unknown: [{ ...JANUARY, reason: "never-synced" }],
    });
  });
});
