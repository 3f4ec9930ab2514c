import { assert, constantFrom, dictionary, jsonValue, oneof, property } from "fast-check";
import { expect, test } from "vitest";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import { readEvents, readPage } from "../../src/google/read-page.ts";
import { mirrorOf } from "../../src/store/busy-mirror.ts";
import { toEventRows } from "../../src/store/event-columns.ts";

const FIELDS = [
  "status",
  "etag",
  "summary",
  "updated",
  "start",
  "end",
  "recurrence",
  "recurringEventId",
  "originalStartTime",
  "transparency",
  "attendees",
  "eventType",
] as const;

/** Anything that JSON can say, and what is nearly right, which is worse. */
const anyValue = oneof(
  jsonValue(),
  constantFrom<unknown>(
    "",
    "\u{0}",
    "\u{d800}",
    "__proto__",
    { dateTime: "-271821-04-20T00:00:00Z" },
    { dateTime: "+275760-09-13T00:00:00Z" },
    { date: "2026-02-31" },
    { date: 7, dateTime: [], timeZone: {} },
    ["RRULE:FREQ=DAILY;COUNT=999999999;INTERVAL=999999999"],
    ["RRULE:", "RDATE:", "EXDATE", ":::", ""],
    [null, 7, {}],
    [{ self: true, responseStatus: 7 }, null],
  ),
);

/** What came over the wire, as an event. */
function received(event: Readonly<Record<string, unknown>>, mirror: "full" | "busy"): GoogleEvent {
  const body = JSON.stringify({ items: [event], nextSyncToken: "token" });
  const [read] = readEvents(readPage("events.list", body, undefined), mirror);
  if (read === undefined) throw new Error("The page lost its event");
  return read;
}

/** Postgres refuses NUL, SQLite replaces lone surrogates, and neither holds more than 64 bits. */
function isStorable(value: unknown): boolean {
  if (typeof value === "number") return Number.isSafeInteger(value);
  return typeof value !== "string" || (value.isWellFormed() && !value.includes("\u{0}"));
}

test("I8: an event of any shape becomes a row that both databases take, and never throws", () => {
  const anyEvent = dictionary(constantFrom(...FIELDS), anyValue);
  assert(
    property(anyEvent, constantFrom("full" as const, "busy" as const), (fields, kind) => {
      const event = received({ ...fields, id: "odd" }, kind);
      const [row] = toEventRows([event], mirrorOf(kind));
      expect(row?.event_key).toBe("odd");
      expect(Object.values(row ?? {}).filter((value) => !isStorable(value))).toEqual([]);
      const kept: unknown = JSON.parse(row?.raw ?? "");
      expect(kept).toEqual(kind === "full" ? event : mirrorOf(kind).project(event));
    }),
    { numRuns: 2_000 },
  );
});

test("I8: a field nested deeper than can be written costs that field, not the calendar", () => {
  const depth = 200_000;
  const body = `{"items":[{"id":"deep","summary":"kept","odd":${"[".repeat(depth)}${"]".repeat(depth)}},{"id":"next"}],"nextSyncToken":"token"}`;
  const events = readEvents(readPage("events.list", body, undefined), "full");
  expect(() => JSON.stringify(events[0])).toThrow(RangeError);
  const rows = toEventRows(events, mirrorOf("full"));
  expect(rows.map(({ raw }) => raw)).toEqual(['{"id":"deep","summary":"kept"}', '{"id":"next"}']);
});

test("I8: a series may name more dates than a function takes arguments", () => {
  const dates = `RDATE:${Array.from({ length: 300_000 }, () => "20260325T130000Z").join(",")}`;
  const times = {
    start: { dateTime: "2026-01-05T10:00:00Z" },
    end: { dateTime: "2026-01-05T11:00:00Z" },
  };
  const [row] = toEventRows([{ id: "many", recurrence: [dates], ...times }], mirrorOf("full"));
  expect(row?.last_end_ms).toBeGreaterThan(Date.parse("2026-03-25T13:00:00Z"));
});
