import { monitorEventLoopDelay } from "node:perf_hooks";
import { expect, test } from "vitest";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import { expandRange, type Expansion } from "../../src/read/expand-range.ts";
import { parseRule, RuleUnreadable } from "../../src/read/parse-rule.ts";
import { createTurns } from "../../src/read/turns.ts";
import { zoneClock } from "../../src/read/zone-clock.ts";

interface Looking {
  readonly from?: string;
  readonly to?: string;
  readonly zone?: string;
}

function monotonicMs(): number {
  return performance.now();
}

async function expand(events: readonly GoogleEvent[], looking: Looking = {}): Promise<Expansion> {
  const clock = zoneClock(looking.zone ?? "Europe/Zurich");
  if (clock === undefined) throw new Error("no such zone");
  return expandRange(
    events,
    {
      window: {
        fromMs: Date.parse(looking.from ?? "2026-03-01T00:00:00Z"),
        toMs: Date.parse(looking.to ?? "2026-04-01T00:00:00Z"),
      },
      clock,
      isWanted: ({ status }) => status !== "cancelled",
    },
    createTurns(monotonicMs),
  );
}

async function spans(events: readonly GoogleEvent[], looking?: Looking): Promise<string[]> {
  const { takings, unknown } = await expand(events, looking);
  expect(unknown).toEqual([]);
  return takings.map(({ startMs, endMs }) => `${iso(startMs)} ${iso(endMs)}`).toSorted();
}

function iso(ms: number): string {
  return new Date(ms).toISOString().slice(0, 16);
}

function series(...recurrence: readonly string[]): GoogleEvent {
  return {
    id: "s",
    start: { dateTime: "2026-03-02T10:00:00+01:00", timeZone: "Europe/Zurich" },
    end: { dateTime: "2026-03-02T11:00:00+01:00", timeZone: "Europe/Zurich" },
    recurrence,
  };
}

function at(id: string, start: string, end: string): GoogleEvent {
  return { id, start: { dateTime: start }, end: { dateTime: end } };
}

/** Of the series: at ten on a day, moved to an hour, or cancelled. */
function exception(day: string, to: string | undefined): GoogleEvent {
  return {
    id: `s_${day}`,
    recurringEventId: "s",
    originalStartTime: { dateTime: `${day}T10:00:00+01:00` },
    ...(to === undefined
      ? { status: "cancelled" }
      : { start: { dateTime: `${to}:00:00Z` }, end: { dateTime: `${to}:30:00Z` } }),
  };
}

test("a range is half-open: what ends where it begins, or begins where it ends, is not in it", async () => {
  const { takings } = await expand([
    at("before", "2026-02-28T23:00:00Z", "2026-03-01T00:00:00Z"),
    at("into", "2026-02-28T23:00:00Z", "2026-03-01T00:01:00Z"),
    at("moment", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
    at("around", "2026-02-01T00:00:00Z", "2026-05-01T00:00:00Z"),
    at("last", "2026-03-31T23:59:00Z", "2026-04-01T10:00:00Z"),
    at("after", "2026-04-01T00:00:00Z", "2026-04-01T10:00:00Z"),
  ]);
  expect(takings.map(({ event }) => event.id)).toEqual(["into", "moment", "around", "last"]);
});

test("exceptions come in from outside, go out, change where they are, and cancel one occurrence", async () => {
  expect(
    await spans([
      series("RRULE:FREQ=WEEKLY;UNTIL=20260329T000000Z", "RRULE:FREQ=MONTHLY;BYMONTHDAY=28"),
      exception("2026-03-09", "2026-05-09T09"),
      exception("2026-02-23", "2026-03-05T09"),
      exception("2026-03-16", "2026-03-16T15"),
      exception("2026-03-23", undefined),
    ]),
  ).toEqual([
    "2026-03-02T09:00 2026-03-02T10:00",
    "2026-03-05T09:00 2026-03-05T09:30",
    "2026-03-16T15:00 2026-03-16T15:30",
    "2026-03-28T09:00 2026-03-28T10:00",
  ]);
});

test("an exception whose series is not in this calendar takes place all the same", async () => {
  const orphan: GoogleEvent = {
    id: "other_20260305T090000Z",
    recurringEventId: "other",
    originalStartTime: { dateTime: "2026-03-05T09:00:00Z" },
    start: { dateTime: "2026-03-05T09:00:00Z" },
    end: { dateTime: "2026-03-05T10:00:00Z" },
  };
  expect(await spans([orphan])).toEqual(["2026-03-05T09:00 2026-03-05T10:00"]);
});

test("dates added and taken away: by zone, in UTC, as periods, and by a rule", async () => {
  expect(
    await spans([
      series(
        "RRULE:FREQ=DAILY;COUNT=5",
        "EXRULE:FREQ=WEEKLY;BYDAY=WE",
        "EXDATE;TZID=America/New_York:20260303T040000",
        "RDATE:20260320T120000Z",
        "RDATE;VALUE=PERIOD:20260321T120000Z/PT3H,20260322T120000Z/20260322T120500Z",
      ),
    ]),
  ).toEqual([
    "2026-03-02T09:00 2026-03-02T10:00",
    "2026-03-05T09:00 2026-03-05T10:00",
    "2026-03-06T09:00 2026-03-06T10:00",
    "2026-03-20T12:00 2026-03-20T13:00",
    "2026-03-21T12:00 2026-03-21T15:00",
    "2026-03-22T12:00 2026-03-22T12:05",
  ]);
});

test("a series keeps its time of day, skips nothing in the gap, and takes the first of a repeated hour", async () => {
  const night: GoogleEvent = {
    id: "night",
    start: { dateTime: "2026-03-28T02:30:00+01:00", timeZone: "Europe/Zurich" },
    end: { dateTime: "2026-03-28T03:30:00+01:00", timeZone: "Europe/Zurich" },
    recurrence: ["RRULE:FREQ=DAILY"],
  };
  expect(
    await spans([night], { from: "2026-03-28T00:00:00Z", to: "2026-03-31T00:00:00Z" }),
  ).toEqual([
    "2026-03-28T01:30 2026-03-28T02:30",
    "2026-03-29T01:30 2026-03-29T02:30",
    "2026-03-30T00:30 2026-03-30T01:30",
  ]);
  expect(
    await spans([night], { from: "2026-10-24T00:00:00Z", to: "2026-10-27T00:00:00Z" }),
  ).toEqual([
    "2026-10-24T00:30 2026-10-24T01:30",
    "2026-10-25T00:30 2026-10-25T01:30",
    "2026-10-26T01:30 2026-10-26T02:30",
  ]);
});

test("all-day events are days of the zone that is asked for, also days of 23 and 25 hours", async () => {
  const day: GoogleEvent = {
    id: "day",
    start: { date: "2026-03-29" },
    end: { date: "2026-03-30" },
    recurrence: ["RRULE:FREQ=YEARLY", "RDATE;VALUE=DATE:20261025"],
  };
  const year = { from: "2026-01-01T00:00:00Z", to: "2027-01-01T00:00:00Z" };
  expect(await spans([day], year)).toEqual([
    "2026-03-28T23:00 2026-03-29T22:00",
    "2026-10-24T22:00 2026-10-25T23:00",
  ]);
  expect(await spans([day], { ...year, zone: "Pacific/Kiritimati" })).toEqual([
    "2026-03-28T10:00 2026-03-29T10:00",
    "2026-10-24T10:00 2026-10-25T10:00",
  ]);
});

test("where clocks are turned at midnight an all-day event is its days all the same", async () => {
  const days: GoogleEvent = {
    id: "days",
    start: { date: "2022-03-27" },
    end: { date: "2022-03-30" },
    recurrence: ["RRULE:FREQ=WEEKLY;COUNT=2"],
  };
  const beirut = { from: "2022-03-01T00:00:00Z", to: "2022-05-01T00:00:00Z", zone: "Asia/Beirut" };
  // The 27th began at 01:00, which was 22:00 UTC.
  expect(await spans([days], beirut)).toEqual([
    "2022-03-26T22:00 2022-03-29T21:00",
    "2022-04-02T21:00 2022-04-05T21:00",
  ]);
});

test("the start of a series is an occurrence even where its rule does not name it", async () => {
  expect(await spans([series("RRULE:FREQ=WEEKLY;BYDAY=TU;COUNT=1")])).toEqual([
    "2026-03-02T09:00 2026-03-02T10:00",
    "2026-03-03T09:00 2026-03-03T10:00",
  ]);
});

const UNREADABLE = [
  "RRULE:FREQ=SOMETIMES",
  "RRULE:FREQ=DAILY;INTERVAL=0",
  "RRULE:FREQ=DAILY;COUNT=many",
  "RRULE:FREQ=DAILY;UNTIL=20260231",
  "RRULE:FREQ=DAILY;BYDAY=XX",
  "RRULE:FREQ=WEEKLY;BYDAY=2MO",
  "RRULE:FREQ=WEEKLY;BYMONTHDAY=2",
  "RRULE:FREQ=MONTHLY;BYWEEKNO=2",
  "RRULE:FREQ=DAILY;BYEASTER=1",
  "RRULE:FREQ=DAILY;FREQ=DAILY",
  "RRULE:RSCALE=CHINESE;FREQ=YEARLY",
  "RDATE:never",
  "EXDATE;TZID=Nowhere/City:20260303T040000",
  "X-RULE:FREQ=DAILY",
  "nonsense",
];

test("I11: a series that cannot be read is unknown and named, never left out, and stops nobody else", async () => {
  for (const line of UNREADABLE) {
    const { takings, unknown } = await expand([
      series(line),
      { ...series("RRULE:FREQ=DAILY;COUNT=1"), id: "good" },
    ]);
    expect({ line, unknown }).toEqual({
      line,
      unknown: [{ reason: "unreadable-event", eventIds: ["s"] }],
    });
    expect(takings.map(({ event }) => event.id)).toEqual(["good"]);
  }
});

test("I11: an event whose times or zone cannot be read is unknown", async () => {
  const odd: readonly GoogleEvent[] = [
    { id: "none" },
    { id: "words", start: { dateTime: "soon" }, end: { dateTime: "later" } },
    { id: "backwards", start: { date: "2026-03-02" }, end: { date: "2026-03-01" } },
    { id: "no-such-day", start: { date: "2026-02-31" }, end: { date: "2026-03-05" } },
    {
      id: "zone",
      start: { dateTime: "2026-03-02T10:00:00", timeZone: "Mars/Olympus" },
      end: { dateTime: "2026-03-02T11:00:00", timeZone: "Mars/Olympus" },
    },
  ];
  for (const event of odd) {
    const { unknown } = await expand([event]);
    expect(unknown).toEqual([{ reason: "unreadable-event", eventIds: [event.id] }]);
  }
});

test("a rule is read the same however it is written", () => {
  expect(parseRule("freq=weekly;byday=mo,tu;")).toEqual(parseRule("FREQ=WEEKLY;BYDAY=MO,TU"));
  expect(() => parseRule("")).toThrow(RuleUnreadable);
});

const ENDLESS = [
  "RRULE:FREQ=SECONDLY",
  "RRULE:FREQ=SECONDLY;COUNT=999999999",
  "RRULE:FREQ=MINUTELY;BYSECOND=0,1,2,3,4,5,6,7,8,9",
  "RRULE:FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11;BYMINUTE=0,1,2,3,4,5,6,7,8,9;BYSECOND=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
  "EXRULE:FREQ=SECONDLY",
];

test("I11: a series too long to expand is unknown, and many of them do not hold up the event loop", async () => {
  for (const line of ENDLESS) {
    const { unknown } = await expand([series(line)]);
    expect({ line, unknown }).toEqual({
      line,
      unknown: [{ reason: "too-much-to-expand", eventIds: ["s"] }],
    });
  }
  const many = Array.from({ length: 300 }, (_, n) => ({
    ...series(ENDLESS[n % ENDLESS.length] ?? ""),
    id: `s${n}`,
  }));
  const stall = monitorEventLoopDelay({ resolution: 2 });
  stall.enable();
  const startedMs = performance.now();
  const { unknown } = await expand(many);
  stall.disable();
  expect(unknown).toHaveLength(1);
  expect(unknown[0]?.eventIds).toHaveLength(10);
  // Three million steps for a calendar, whatever is in it: a second or so, in short turns.
  expect(performance.now() - startedMs).toBeLessThan(10_000);
  expect(stall.count).toBeGreaterThan(10);
});

test("a rule that never fits costs little: no day of February is the 30th", async () => {
  const startedMs = performance.now();
  for (const frequency of ["SECONDLY", "MINUTELY", "HOURLY", "DAILY", "MONTHLY", "YEARLY"]) {
    await spans([series(`RRULE:FREQ=${frequency};BYMONTH=2;BYMONTHDAY=30`)], {
      from: "2026-05-01T00:00:00Z",
      to: "2027-05-01T00:00:00Z",
    });
  }
  expect(performance.now() - startedMs).toBeLessThan(1_000);
});
