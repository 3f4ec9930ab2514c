import * as fc from "fast-check";
import ICAL from "ical.js";
import { expect, test } from "vitest";
import { lastPossibleEnd, OPEN_ENDED_MS } from "../../src/store/series-end.ts";

const HOUR_MS = 3_600_000;
const DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"] as const;

const ruleArbitrary = fc
  .record({
    freq: fc.constantFrom("DAILY", "WEEKLY", "MONTHLY", "YEARLY"),
    interval: fc.integer({ min: 1, max: 5 }),
    days: fc.uniqueArray(fc.constantFrom(...DAYS), { maxLength: 3 }),
    // Not the fifth: the other library gives up where a month has none.
    ordinal: fc.constantFrom("", "1", "-1", "4"),
    end: fc.oneof(
      fc.integer({ min: 1, max: 40 }).map((count) => `;COUNT=${count}`),
      fc.integer({ min: 0, max: 900 }).map((days) => `;UNTIL=${icalDate(days)}T120000Z`),
      fc.integer({ min: 0, max: 900 }).map((days) => `;UNTIL=${icalDate(days)}`),
    ),
  })
  .map(({ freq, interval, days, ordinal, end }) => {
    const hasOrdinal = freq === "MONTHLY" || freq === "YEARLY";
    const byDay = days.map((day) => `${hasOrdinal ? ordinal : ""}${day}`).join(",");
    return `FREQ=${freq};INTERVAL=${interval}${byDay === "" ? "" : `;BYDAY=${byDay}`}${end}`;
  });

function icalDate(daysAfter2024: number): string {
  return new Date(Date.UTC(2024, 0, 1 + daysAfter2024))
    .toISOString()
    .slice(0, 10)
    .replaceAll("-", "");
}

/** Every start of a rule by another library than any of ours reads with; bounded. */
function startsOf(rule: string, startMs: number): number[] {
  const start = ICAL.Time.fromJSDate(new Date(startMs), true);
  const iterator = ICAL.Recur.fromString(rule).iterator(start);
  // The types do not say so, but after the last one it is null.
  const advance = (): ICAL.Time | null => iterator.next();
  const starts: number[] = [];
  for (let next = advance(); next !== null && starts.length < 1_000; next = advance()) {
    starts.push(next.toJSDate().getTime());
  }
  return starts;
}

test("no occurrence of a series ends after its last possible end", () => {
  let bounded = 0;
  fc.assert(
    fc.property(
      ruleArbitrary,
      fc.integer({ min: 0, max: 730 }),
      fc.integer({ min: 0, max: 23 }),
      (rule, days, hour) => {
        const startMs = Date.UTC(2024, 0, 1 + days, hour);
        const end = lastPossibleEnd([`RRULE:${rule}`], { startMs, durationMs: HOUR_MS });
        if (end < OPEN_ENDED_MS) bounded += 1;
        const last = Math.max(startMs, ...startsOf(rule, startMs));
        expect(end).toBeGreaterThanOrEqual(last + HOUR_MS);
      },
    ),
    { numRuns: 400 },
  );
  // Were everything open ended, the property would hold and mean nothing.
  expect(bounded).toBeGreaterThan(100);
});

test("a series that cannot be bounded by plain arithmetic is open ended", () => {
  const first = { startMs: Date.UTC(2026, 0, 5), durationMs: HOUR_MS };
  for (const line of [
    "RRULE:FREQ=DAILY",
    "RRULE:FREQ=MONTHLY;BYDAY=5FR;COUNT=2",
    "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;COUNT=3",
    "RRULE:FREQ=SECONDLY;COUNT=3",
    "RRULE:FREQ=DAILY;UNTIL=soon",
    "RRULE:FREQ=DAILY;COUNT=0",
    "RRULE:FREQ=DAILY;COUNT=3;INTERVAL=x",
    "RDATE;VALUE=PERIOD:20260310T100000Z/PT1H",
    "nonsense",
    "",
  ]) {
    expect([line, lastPossibleEnd([line], first)]).toEqual([line, OPEN_ENDED_MS]);
  }
  // One open line among bounded ones leaves the whole open.
  expect(lastPossibleEnd(["RRULE:FREQ=DAILY;COUNT=2", "RRULE:FREQ=WEEKLY"], first)).toBe(
    OPEN_ENDED_MS,
  );
  expect(lastPossibleEnd(["EXDATE:20990101T000000Z"], first)).toBeLessThan(Date.UTC(2026, 0, 9));
});
