import { expect, test } from "vitest";
import { spanOf } from "../../src/simulator/event-span.ts";
import { recurrenceProblem, seriesStarts } from "../../src/simulator/recurrence.ts";
import type { EventResource } from "../../src/simulator/wire-resources.ts";

function starts(event: EventResource, until: string): string[] {
  const span = spanOf(event, "UTC");
  if (!span) throw new Error("no span");
  return seriesStarts(event, span, Date.parse(until)).map((atMs) => new Date(atMs).toISOString());
}

function weekly(zone: string, ...recurrence: string[]): EventResource {
  return {
    start: { dateTime: "2026-03-23T09:00:00", timeZone: zone },
    end: { dateTime: "2026-03-23T10:00:00", timeZone: zone },
    recurrence,
  };
}

test("a series keeps its time of day when the clocks change", () => {
  expect(
    starts(weekly("Europe/Zurich", "RRULE:FREQ=WEEKLY;COUNT=2"), "2027-01-01T00:00:00Z"),
  ).toEqual(["2026-03-23T08:00:00.000Z", "2026-03-30T07:00:00.000Z"]);
});

test("UNTIL in UTC, EXDATE in a zone and RDATE are read as what they are", () => {
  const event = weekly(
    "America/New_York",
    "RRULE:FREQ=DAILY;UNTIL=20260326T130000Z",
    "EXDATE;TZID=America/New_York:20260324T090000",
    "RDATE:20260401T120000Z",
  );
  expect(starts(event, "2027-01-01T00:00:00Z")).toEqual([
    "2026-03-23T13:00:00.000Z",
    "2026-03-25T13:00:00.000Z",
    "2026-03-26T13:00:00.000Z",
    "2026-04-01T12:00:00.000Z",
  ]);
});

test("all-day series follow dates", () => {
  const event = {
    start: { date: "2024-02-29" },
    end: { date: "2024-03-01" },
    recurrence: ["RRULE:FREQ=YEARLY;COUNT=2"],
  };
  expect(starts(event, "2040-01-01T00:00:00Z")).toEqual([
    "2024-02-29T00:00:00.000Z",
    "2028-02-29T00:00:00.000Z",
  ]);
});

test("a month without the series' day is skipped", () => {
  const event = {
    start: { date: "2026-01-31" },
    end: { date: "2026-02-01" },
    recurrence: ["RRULE:FREQ=MONTHLY;COUNT=3"],
  };
  expect(starts(event, "2040-01-01T00:00:00Z").map((text) => text.slice(0, 10))).toEqual([
    "2026-01-31",
    "2026-03-31",
    "2026-05-31",
  ]);
});

test("a rule without end costs a bounded number of steps", () => {
  const startedMs = performance.now();
  expect(
    starts(weekly("UTC", "RRULE:FREQ=SECONDLY"), "2036-01-01T00:00:00Z").length,
  ).toBeLessThanOrEqual(20_001);
  expect(performance.now() - startedMs).toBeLessThan(5000);
});

test("rules that are none are refused", () => {
  for (const line of ["RRULE:FREQ=SOMETIMES", "RRULE:COUNT=3", "FREQ=DAILY", "EXDATE:never", ""]) {
    expect(recurrenceProblem([line])).toBeTypeOf("string");
  }
  expect(recurrenceProblem(["RRULE:FREQ=DAILY", "EXDATE;VALUE=DATE:20260101"])).toBeUndefined();
});
