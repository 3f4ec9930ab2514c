import { epochMs } from "../../src/core/clock.ts";
import { accountId, calendarId, googleCalendarId, tenantId } from "../../src/core/ids.ts";
import type { RefreshState } from "../../src/core/refresh-store.ts";

/** A calendar that was published once and whose sync token holds; tests name only what differs. */
export function refreshState(changes: Partial<RefreshState> = {}): RefreshState {
  return {
    calendarId: calendarId("cal_1"),
    accountId: accountId("acc_1"),
    tenantId: tenantId("acme"),
    googleId: googleCalendarId("primary@example.test"),
    generation: 3,
    syncToken: "sync-3",
    queryFingerprint: "query-a",
    unfinished: undefined,
    earlierAttempt: "none",
    requestedMode: "incremental",
    requested: 5,
    served: 4,
    dueClass: "poll",
    dueReason: "poll",
    pageSize: 2500,
    consecutiveFailures: 0,
    lastFailureCode: undefined,
    tokenDeaths: 0,
    lastTokenDeathAt: undefined,
    ...changes,
  };
}

/** A listing of which two pages are stored. */
export const twoPagesStored = {
  kind: "full",
  nextPageToken: "page-3",
  startedAt: epochMs(1_000),
  pagesStored: 2,
  fingerprint: "query-a",
  requestedAtStart: 4,
} as const;
