import { expect, test } from "vitest";
import { epochMs } from "../../src/core/clock.ts";
import { projectId } from "../../src/core/ids.ts";
import { reportQuota, type QuotaReport } from "../../src/operate/quota-report.ts";

const HOUR_MS = 3_600_000;
const STARTED = epochMs(1_000_000);
const NOW = epochMs(STARTED + 12 * HOUR_MS);
const ENDS = epochMs(STARTED + 24 * HOUR_MS);

function report(known: {
  readonly ledgerUsed?: number;
  readonly written?: { readonly dayStartedAt: number; readonly count: number };
  readonly inQuarter?: number;
}): Promise<QuotaReport> {
  const { ledgerUsed, written, inQuarter = 0 } = known;
  return reportQuota(
    {
      projectId: projectId("default"),
      perDay: 1_000,
      day: { startedAt: STARTED, endsAt: ENDS },
      spentWithinMs: HOUR_MS,
      mostSpenders: 10,
    },
    {
      clock: { now: () => NOW },
      readQuota: () =>
        Promise.resolve(
          ledgerUsed === undefined
            ? undefined
            : {
                minute: { limit: 100, used: 130 },
                day: { limit: 900, used: ledgerUsed },
                retryTokens: 7,
              },
        ),
      ledgerRecord: {
        readDay: () =>
          Promise.resolve(
            written && {
              dayStartedAt: epochMs(written.dayStartedAt),
              count: written.count,
              ledgerAt: NOW,
            },
          ),
      },
      usage: {
        totals: () => Promise.resolve([]),
        unsuccessful: () => Promise.resolve([]),
        attempts: () => Promise.resolve({ first: inQuarter, retry: 0 }),
      },
    },
  );
}

test("at an hour of 30 requests more the day ends below its limit", async () => {
  const { day, source, minute } = await report({ ledgerUsed: 500, inQuarter: 7.5 });
  expect(source).toBe("ledger");
  // A limit that was lowered may be passed already: nothing is left, not less.
  expect(minute).toEqual({ limit: 100, used: 130, left: 0 });
  expect(day).toMatchObject({ limit: 900, used: 500, left: 400, perMinute: 0.5, forecast: 860 });
  expect(day.exhaustedAt).toBeUndefined();
});

test("at a rate that does not last it tells when the day is spent", async () => {
  const { day } = await report({ ledgerUsed: 500, inQuarter: 15 });
  expect(day.forecast).toBe(500 + 12 * 60);
  expect(day.exhaustedAt).toBe(NOW + 400 * 60_000);
});

test("without a running service the day is as it was written, and yesterday's count is not today's", async () => {
  const today = await report({ written: { dayStartedAt: STARTED, count: 321 } });
  expect(today).toMatchObject({ source: "database", day: { limit: 1_000, used: 321, left: 679 } });
  expect(today.minute).toBeUndefined();
  const yesterday = await report({ written: { dayStartedAt: STARTED - 24 * HOUR_MS, count: 999 } });
  expect(yesterday.day.used).toBe(0);
});
