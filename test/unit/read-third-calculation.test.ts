import { RRuleTemporal } from "rrule-temporal";
import { expect, test } from "vitest";
import { occurrencesOf, readSeries } from "../../src/read/series.ts";
import { createWorkBudget } from "../../src/read/work-budget.ts";
import { zoneClock } from "../../src/read/zone-clock.ts";
import { spanOf } from "../../src/simulator/event-span.ts";
import { seriesStarts } from "../../src/simulator/recurrence.ts";

const ZONE = "Europe/Zurich";
const FROM_MS = Date.UTC(2024, 0, 1);
const TO_MS = Date.UTC(2026, 6, 1);

interface Calculated {
  readonly reader: readonly string[];
  readonly third: readonly string[];
  readonly simulator: readonly string[];
}

/** The same rule by the reader, by rrule-temporal, and by ical.js; the start of the series itself left out. */
function calculate(rule: string, start: string): Calculated {
  const time = { dateTime: start, timeZone: ZONE };
  const event = { id: "x", start: time, end: time, recurrence: [`RRULE:${rule}`] };
  const clock = zoneClock(ZONE);
  const span = spanOf(event, ZONE);
  if (clock === undefined || span === undefined) throw new Error("unreadable");
  const series = readSeries(event, clock);
  const budget = createWorkBudget({ maxSteps: 1e6, maxMs: 1e6 }, () => 0);
  const line = `DTSTART;TZID=${ZONE}:${start.replaceAll(/[-:]/g, "")}\nRRULE:${rule}`;
  const third = new RRuleTemporal({ rruleString: line }).between(
    new Date(FROM_MS - 1),
    new Date(TO_MS),
    false,
  );
  const shown = (starts: readonly number[]): readonly string[] =>
    starts
      .filter((ms) => ms !== series.startMs && ms >= FROM_MS && ms < TO_MS)
      .map((ms) => new Date(ms).toISOString());
  return {
    reader: shown(
      occurrencesOf(series, { fromMs: FROM_MS, toMs: TO_MS }, budget).map((one) => one.startMs),
    ),
    third: shown(third.map((one) => one.epochMilliseconds)),
    simulator: shown(seriesStarts(event, span, TO_MS)),
  };
}

// Where ical.js 2.2.1 differs, and a third calculation says that it is ical.js that is wrong. (It also never
// comes back from FREQ=DAILY;BYMONTHDAY=-1, which therefore is not here.)
const WRONG_IN_ICAL_JS = [
  "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE,FR;BYSETPOS=-1",
  "FREQ=YEARLY;BYMONTHDAY=13",
  "FREQ=YEARLY;BYMONTH=3,5,6;BYMONTHDAY=-1",
  "FREQ=YEARLY;BYMONTH=2,11;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,-1",
  "FREQ=YEARLY;BYDAY=-20MO",
  "FREQ=YEARLY;BYWEEKNO=20,-1;BYDAY=TH,SU",
];

for (const rule of WRONG_IN_ICAL_JS) {
  test(`${rule}: the reader agrees with a third calculation, and ical.js with neither`, () => {
    const { reader, third, simulator } = calculate(rule, "2023-01-09T10:00:00");
    expect(reader).toEqual(third);
    expect(reader.length).toBeGreaterThan(1);
    expect(simulator).not.toEqual(third);
  });
}

const AGREED = [
  "FREQ=DAILY;INTERVAL=7;COUNT=90",
  "FREQ=DAILY;BYHOUR=4,9;BYMINUTE=0,30",
  "FREQ=WEEKLY;INTERVAL=3;BYDAY=SU,WE;WKST=TH;COUNT=40",
  "FREQ=MONTHLY;BYDAY=SA,WE;BYSETPOS=2,-1",
  "FREQ=MONTHLY;BYMONTHDAY=1,15,31;BYHOUR=8,20",
  "FREQ=YEARLY;BYYEARDAY=1,60,366",
  "FREQ=YEARLY;BYDAY=FR;BYMONTHDAY=13",
  "FREQ=HOURLY;BYDAY=SU;BYHOUR=9,10",
];

for (const rule of AGREED) {
  test(`${rule}: three calculations agree`, () => {
    const { reader, third, simulator } = calculate(rule, "2023-01-09T10:00:00");
    expect(reader).toEqual(third);
    expect(reader).toEqual(simulator);
    expect(reader.length).toBeGreaterThan(1);
  });
}
