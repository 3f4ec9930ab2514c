import { expect, test } from "vitest";
import { reportLost } from "../../jobs/report-lost.ts";

function report(run: Parameters<typeof reportLost>[1]): readonly unknown[] {
  const told: unknown[] = [];
  reportLost(
    {
      logger: {
        log: (level, message, fields) => {
          told.push({ level, message, ...fields });
        },
      },
      metrics: {
        calendarsLost: (how, count) => {
          told.push({ how, count });
        },
      },
    },
    run,
  );
  return told;
}

test("a calendar that Google refused twice is told by the run that confirmed it", () => {
  const facts = { calendarId: "cal_1", state: "lost", code: "GCAL_NOT_FOUND" };
  expect(report({ job: "refresh-calendar", facts })).toEqual([
    { how: "refused", count: 1 },
    { level: "warn", message: "Calendar is lost", calendarId: "cal_1", code: "GCAL_NOT_FOUND" },
  ]);
});

test("calendars that are gone from their account's list are told together", () => {
  const facts = { accountId: "acc_1", added: 0, lost: 3 };
  expect(report({ job: "discover-calendars", facts })).toMatchObject([
    { how: "gone-from-list", count: 3 },
    { accountId: "acc_1", lost: 3 },
  ]);
});

test("other runs lose nothing", () => {
  expect(report({ job: "refresh-calendar", facts: { state: "slowed" } })).toEqual([]);
  expect(report({ job: "discover-calendars", facts: { lost: 0 } })).toEqual([]);
  expect(report({ job: "renew-channel", facts: { state: "lost", lost: 1 } })).toEqual([]);
});
