import { expect, test } from "vitest";
import { readSeries, occurrencesOf } from "../../src/read/series.ts";
import { createWorkBudget } from "../../src/read/work-budget.ts";
import { zoneClock } from "../../src/read/zone-clock.ts";

const ZONE = "America/New_York";

/** Dates as the RFC lists them, `1997 9/2-4 10/1`: month and days, at the series' time of day. */
function dates(text: string, time = "09:00"): string[] {
  const found: string[] = [];
  let year = "";
  for (const word of text.trim().split(/\s+/)) {
    if (/^\d{4}$/.test(word)) {
      year = word;
      continue;
    }
    const [month = "", days = ""] = word.split("/");
    for (const range of days.split(",")) {
      const [from = 0, to = from] = range.split("-").map(Number);
      for (let day = from; day <= to; day++) {
        found.push(`${year}-${month.padStart(2, "0")}-${String(day).padStart(2, "0")}T${time}`);
      }
    }
  }
  return found;
}

function times(day: string, clock: string): string[] {
  return clock.split(" ").map((time) => `${day}T${time}`);
}

function everyTwentyMinutes(day: string): string[] {
  return Array.from({ length: 24 }, (_, n) => {
    const minutes = 9 * 60 + n * 20;
    const hour = String(Math.floor(minutes / 60)).padStart(2, "0");
    return `${day}T${hour}:${String(minutes % 60).padStart(2, "0")}`;
  });
}

interface Example {
  readonly rule: string;
  readonly start?: string;
  readonly more?: readonly string[];
  /** For rules without an end: compared up to here. */
  readonly before?: string;
  readonly expected: readonly string[];
}

const JANUARYS = ["1998", "1999", "2000"].map((year) => `${year} 1/1-31`).join(" ");

// RFC 5545, 3.8.5.3, in its order; DTSTART;TZID=America/New_York:19970902T090000 unless given.
const EXAMPLES: Readonly<Record<string, Example>> = {
  "daily for 10 occurrences": { rule: "FREQ=DAILY;COUNT=10", expected: dates("1997 9/2-11") },
  "daily until December 24, 1997": {
    rule: "FREQ=DAILY;UNTIL=19971224T000000Z",
    expected: dates("1997 9/2-30 10/1-31 11/1-30 12/1-23"),
  },
  "every other day, forever": {
    rule: "FREQ=DAILY;INTERVAL=2",
    before: "1997-12-04",
    expected: dates(
      "1997 9/2,4,6,8,10,12,14,16,18,20,22,24,26,28,30 10/2,4,6,8,10,12,14,16,18,20,22,24,26,28,30 11/1,3,5,7,9,11,13,15,17,19,21,23,25,27,29 12/1,3",
    ),
  },
  "every 10 days, 5 occurrences": {
    rule: "FREQ=DAILY;INTERVAL=10;COUNT=5",
    expected: dates("1997 9/2,12,22 10/2,12"),
  },
  "every day in January, for 3 years, by year": {
    rule: "FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA",
    start: "19980101T090000",
    expected: dates(JANUARYS),
  },
  "every day in January, for 3 years, by day": {
    rule: "FREQ=DAILY;UNTIL=20000131T140000Z;BYMONTH=1",
    start: "19980101T090000",
    expected: dates(JANUARYS),
  },
  "weekly for 10 occurrences": {
    rule: "FREQ=WEEKLY;COUNT=10",
    expected: dates("1997 9/2,9,16,23,30 10/7,14,21,28 11/4"),
  },
  "weekly until December 24, 1997": {
    rule: "FREQ=WEEKLY;UNTIL=19971224T000000Z",
    expected: dates("1997 9/2,9,16,23,30 10/7,14,21,28 11/4,11,18,25 12/2,9,16,23"),
  },
  "every other week, forever": {
    rule: "FREQ=WEEKLY;INTERVAL=2;WKST=SU",
    before: "1998-02-18",
    expected: dates("1997 9/2,16,30 10/14,28 11/11,25 12/9,23 1998 1/6,20 2/3,17"),
  },
  "weekly on Tuesday and Thursday for 5 weeks, by end": {
    rule: "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
    expected: dates("1997 9/2,4,9,11,16,18,23,25,30 10/2"),
  },
  "weekly on Tuesday and Thursday for 5 weeks, by count": {
    rule: "FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH",
    expected: dates("1997 9/2,4,9,11,16,18,23,25,30 10/2"),
  },
  "every other week on Monday, Wednesday and Friday until December 24, 1997": {
    rule: "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
    start: "19970901T090000",
    expected: dates(
      "1997 9/1,3,5,15,17,19,29 10/1,3,13,15,17,27,29,31 11/10,12,14,24,26,28 12/8,10,12,22",
    ),
  },
  "every other week on Tuesday and Thursday, for 8 occurrences": {
    rule: "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH",
    expected: dates("1997 9/2,4,16,18,30 10/2,14,16"),
  },
  "monthly on the first Friday for 10 occurrences": {
    rule: "FREQ=MONTHLY;COUNT=10;BYDAY=1FR",
    start: "19970905T090000",
    expected: dates("1997 9/5 10/3 11/7 12/5 1998 1/2 2/6 3/6 4/3 5/1 6/5"),
  },
  "monthly on the first Friday until December 24, 1997": {
    rule: "FREQ=MONTHLY;UNTIL=19971224T000000Z;BYDAY=1FR",
    start: "19970905T090000",
    expected: dates("1997 9/5 10/3 11/7 12/5"),
  },
  "every other month on the first and last Sunday for 10 occurrences": {
    rule: "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
    start: "19970907T090000",
    expected: dates("1997 9/7,28 11/2,30 1998 1/4,25 3/1,29 5/3,31"),
  },
  "monthly on the second-to-last Monday for 6 months": {
    rule: "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO",
    start: "19970922T090000",
    expected: dates("1997 9/22 10/20 11/17 12/22 1998 1/19 2/16"),
  },
  "monthly on the third-to-the-last day, forever": {
    rule: "FREQ=MONTHLY;BYMONTHDAY=-3",
    start: "19970928T090000",
    before: "1998-03-01",
    expected: dates("1997 9/28 10/29 11/28 12/29 1998 1/29 2/26"),
  },
  "monthly on the 2nd and 15th for 10 occurrences": {
    rule: "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15",
    expected: dates("1997 9/2,15 10/2,15 11/2,15 12/2,15 1998 1/2,15"),
  },
  "monthly on the first and last day for 10 occurrences": {
    rule: "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
    start: "19970930T090000",
    expected: dates("1997 9/30 10/1,31 11/1,30 12/1,31 1998 1/1,31 2/1"),
  },
  "every 18 months on the 10th to 15th for 10 occurrences": {
    rule: "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
    start: "19970910T090000",
    expected: dates("1997 9/10-15 1999 3/10-13"),
  },
  "every Tuesday, every other month": {
    rule: "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU",
    before: "1998-04-01",
    expected: dates("1997 9/2,9,16,23,30 11/4,11,18,25 1998 1/6,13,20,27 3/3,10,17,24,31"),
  },
  "yearly in June and July for 10 occurrences": {
    rule: "FREQ=YEARLY;COUNT=10;BYMONTH=6,7",
    start: "19970610T090000",
    expected: dates("1997 6/10 7/10 1998 6/10 7/10 1999 6/10 7/10 2000 6/10 7/10 2001 6/10 7/10"),
  },
  "every other year in January, February and March for 10 occurrences": {
    rule: "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
    start: "19970310T090000",
    expected: dates("1997 3/10 1999 1/10 2/10 3/10 2001 1/10 2/10 3/10 2003 1/10 2/10 3/10"),
  },
  "every third year on the 1st, 100th and 200th day for 10 occurrences": {
    rule: "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
    start: "19970101T090000",
    expected: dates("1997 1/1 4/10 7/19 2000 1/1 4/9 7/18 2003 1/1 4/10 7/19 2006 1/1"),
  },
  "every 20th Monday of the year, forever": {
    rule: "FREQ=YEARLY;BYDAY=20MO",
    start: "19970519T090000",
    before: "2000-01-01",
    expected: dates("1997 5/19 1998 5/18 1999 5/17"),
  },
  "Monday of week number 20, forever": {
    rule: "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO",
    start: "19970512T090000",
    before: "2000-01-01",
    expected: dates("1997 5/12 1998 5/11 1999 5/17"),
  },
  "every Thursday in March, forever": {
    rule: "FREQ=YEARLY;BYMONTH=3;BYDAY=TH",
    start: "19970313T090000",
    before: "2000-01-01",
    expected: dates("1997 3/13,20,27 1998 3/5,12,19,26 1999 3/4,11,18,25"),
  },
  "every Thursday in June, July and August, forever": {
    rule: "FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8",
    start: "19970605T090000",
    before: "1999-01-01",
    expected: dates(
      "1997 6/5,12,19,26 7/3,10,17,24,31 8/7,14,21,28 1998 6/4,11,18,25 7/2,9,16,23,30 8/6,13,20,27",
    ),
  },
  "every Friday the 13th, forever": {
    rule: "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
    more: ["EXDATE;TZID=America/New_York:19970902T090000"],
    before: "2000-12-31",
    expected: dates("1998 2/13 3/13 11/13 1999 8/13 2000 10/13"),
  },
  "the first Saturday that follows the first Sunday of the month": {
    rule: "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13",
    start: "19970913T090000",
    before: "1998-07-01",
    expected: dates("1997 9/13 10/11 11/8 12/13 1998 1/10 2/7 3/7 4/11 5/9 6/13"),
  },
  "every 4 years, the first Tuesday after a Monday in November": {
    rule: "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
    start: "19961105T090000",
    before: "2005-01-01",
    expected: dates("1996 11/5 2000 11/7 2004 11/2"),
  },
  "the third instance of Tuesday, Wednesday or Thursday, for 3 months": {
    rule: "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3",
    start: "19970904T090000",
    expected: dates("1997 9/4 10/7 11/6"),
  },
  "the second-to-last weekday of the month": {
    rule: "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
    start: "19970929T090000",
    before: "1998-04-01",
    expected: dates("1997 9/29 10/30 11/27 12/30 1998 1/29 2/26 3/30"),
  },
  // Corrected by an erratum: 17:00 in New York is 21:00 UTC; the RFC's own UNTIL is five in the evening of UTC.
  "every 3 hours from 9:00 AM to 5:00 PM on a day": {
    rule: "FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T210000Z",
    expected: times("1997-09-02", "09:00 12:00 15:00"),
  },
  "every 15 minutes for 6 occurrences": {
    rule: "FREQ=MINUTELY;INTERVAL=15;COUNT=6",
    expected: times("1997-09-02", "09:00 09:15 09:30 09:45 10:00 10:15"),
  },
  "every hour and a half for 4 occurrences": {
    rule: "FREQ=MINUTELY;INTERVAL=90;COUNT=4",
    expected: times("1997-09-02", "09:00 10:30 12:00 13:30"),
  },
  "every 20 minutes from 9:00 AM to 4:40 PM every day, by day": {
    rule: "FREQ=DAILY;BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40",
    before: "1997-09-04",
    expected: [...everyTwentyMinutes("1997-09-02"), ...everyTwentyMinutes("1997-09-03")],
  },
  "every 20 minutes from 9:00 AM to 4:40 PM every day, by minute": {
    rule: "FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10,11,12,13,14,15,16",
    before: "1997-09-04",
    expected: [...everyTwentyMinutes("1997-09-02"), ...everyTwentyMinutes("1997-09-03")],
  },
  "weeks that begin on Monday": {
    rule: "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
    start: "19970805T090000",
    expected: dates("1997 8/5,10,19,24"),
  },
  "weeks that begin on Sunday": {
    rule: "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
    start: "19970805T090000",
    expected: dates("1997 8/5,17,19,31"),
  },
  "a day that some months lack": {
    rule: "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5",
    start: "20070115T090000",
    expected: dates("2007 1/15,30 2/15 3/15,30"),
  },
};

function expand(example: Example, from?: number): string[] {
  const clock = zoneClock(ZONE);
  if (clock === undefined) throw new Error(ZONE);
  const start = example.start ?? "19970902T090000";
  const local = `${start.slice(0, 4)}-${start.slice(4, 6)}-${start.slice(6, 8)}T09:00:00`;
  const series = readSeries(
    {
      id: "example",
      start: { dateTime: local, timeZone: ZONE },
      end: { dateTime: local.replace("T09:00", "T09:10"), timeZone: ZONE },
      recurrence: [`RRULE:${example.rule}`, ...(example.more ?? [])],
    },
    clock,
  );
  const to = clock.toUtcMs(Date.parse(`${example.before ?? "2010-01-01"}T00:00:00Z`));
  const budget = createWorkBudget({ maxSteps: 1e6, maxMs: 1e6 }, () => 0);
  return occurrencesOf(series, { fromMs: from ?? Date.UTC(1990, 0), toMs: to }, budget).map(
    ({ startMs }) => new Date(clock.toWallMs(startMs)).toISOString().slice(0, 16),
  );
}

for (const [name, example] of Object.entries(EXAMPLES)) {
  test(`RFC 5545, 3.8.5.3: ${name}`, () => {
    expect(expand(example)).toEqual(example.expected);
  });
}

test("a window that begins within an example shows the rest of it, wherever it begins", () => {
  const clock = zoneClock(ZONE);
  for (const example of Object.values(EXAMPLES)) {
    for (const [at, moment] of example.expected.entries()) {
      const startMs = clock?.toUtcMs(Date.parse(`${moment}:00Z`));
      expect(expand(example, startMs)).toEqual(example.expected.slice(at));
    }
  }
});
