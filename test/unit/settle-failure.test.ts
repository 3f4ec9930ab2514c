import { describe, expect, test } from "vitest";
import { epochMs } from "../../src/core/clock.ts";
import { CallFailed, type Failure, type FailureKind } from "../../src/core/failure.ts";
import { BudgetSpent, Paused } from "../../src/core/refusal.ts";
import { settleFailure, type FailureContext } from "../../src/sync/settle-failure.ts";
import { EndlessListing } from "../../src/sync/watch-listing.ts";
import { refreshState, twoPagesStored } from "../support/refresh-states.ts";

const NOW = epochMs(1_000_000);
const HOUR = 3_600_000;

function context(changes: Partial<FailureContext> = {}): FailureContext {
  return {
    state: refreshState(),
    earlierAttempt: "reached-google",
    now: NOW,
    random: () => 0.5,
    isStopping: false,
    ...changes,
  };
}

const failed = (failure: Failure): CallFailed =>
  new CallFailed(failure, { operation: "events.list" });

/** One failure of every kind; a new kind does not compile until it is here. */
const EVERY_FAILURE: Record<FailureKind, Failure> = {
  "invalid-request": { kind: "invalid-request", reason: "invalid" },
  "access-token-rejected": { kind: "access-token-rejected" },
  "rate-limited": { kind: "rate-limited", scope: "user", retryAfterMs: undefined },
  "usage-limit-exceeded": { kind: "usage-limit-exceeded" },
  "day-limit-exceeded": { kind: "day-limit-exceeded" },
  "api-not-enabled": { kind: "api-not-enabled" },
  "scope-missing": { kind: "scope-missing" },
  forbidden: { kind: "forbidden", reason: "forbidden" },
  "not-found": { kind: "not-found" },
  conflict: { kind: "conflict", reason: undefined },
  "condition-not-met": { kind: "condition-not-met" },
  "sync-token-dead": { kind: "sync-token-dead" },
  "sync-token-suspect": { kind: "sync-token-suspect" },
  "page-token-dead": { kind: "page-token-dead" },
  "updated-min-too-old": { kind: "updated-min-too-old" },
  "push-not-supported": { kind: "push-not-supported" },
  "upstream-unavailable": { kind: "upstream-unavailable", retryAfterMs: undefined },
  "timed-out": { kind: "timed-out" },
  "malformed-response": { kind: "malformed-response", detail: "not JSON" },
  "response-too-large": { kind: "response-too-large", limitBytes: 8_000_000 },
  "credentials-revoked": { kind: "credentials-revoked" },
  "clock-skewed": { kind: "clock-skewed" },
  "client-misconfigured": { kind: "client-misconfigured", reason: "invalid_client" },
  unrecognised: { kind: "unrecognised", status: 418, reason: undefined },
};

describe("I5: a sync token is dropped only when Google says that it is dead", () => {
  const drops = new Set<FailureKind>(["sync-token-dead", "updated-min-too-old"]);

  test.for(Object.values(EVERY_FAILURE))("after $kind", (failure) => {
    const { postponed } = settleFailure(failed(failure), context());
    expect(postponed.dropSyncToken).toBe(drops.has(failure.kind));
  });

  test("a 400 at the sync token is believed the second time in a row", () => {
    const suspect = failed({ kind: "sync-token-suspect" });
    expect(settleFailure(suspect, context()).postponed.dropSyncToken).toBe(false);

    const again = context({ state: refreshState({ lastFailureCode: suspect.code }) });
    expect(settleFailure(suspect, again).postponed.dropSyncToken).toBe(true);
  });

  test("our own refusals, bugs and a shutdown keep it", () => {
    for (const error of [new Paused({ message: "paused" }), new Error("a bug")]) {
      expect(settleFailure(error, context()).postponed.dropSyncToken).toBe(false);
    }
    const stopping = settleFailure(
      failed({ kind: "sync-token-dead" }),
      context({ isStopping: true }),
    );
    expect(stopping.postponed).toMatchObject({ dropSyncToken: false, dueReason: "interrupted" });
  });
});

describe("a dead sync token", () => {
  test("is followed by a full read in the same job", () => {
    const settlement = settleFailure(failed({ kind: "sync-token-dead" }), context());
    expect(settlement.again).toBe(true);
    expect(settlement.postponed).toMatchObject({
      dueAt: NOW,
      dueReason: "full-resync",
      earlierAttempt: "none",
      tokenDeaths: { count: 1, lastAt: NOW },
    });
  });

  test("that dies for the fourth time in a day slows the calendar instead of looping", () => {
    const state = refreshState({ tokenDeaths: 3, lastTokenDeathAt: epochMs(NOW - HOUR) });
    const settlement = settleFailure(failed({ kind: "sync-token-dead" }), context({ state }));
    expect(settlement.again).toBe(false);
    expect(settlement.postponed).toMatchObject({
      dueReason: "token-loop",
      dropSyncToken: true,
      state: { kind: "slowed", reason: "token-loop" },
      tokenDeaths: { count: 4, lastAt: NOW },
    });
    expect(settlement.postponed.dueAt - NOW).toBe(HOUR);
  });

  test("starts counting anew after a day without one", () => {
    const state = refreshState({ tokenDeaths: 9, lastTokenDeathAt: epochMs(NOW - 25 * HOUR) });
    const { postponed } = settleFailure(failed({ kind: "sync-token-dead" }), context({ state }));
    expect(postponed.tokenDeaths).toEqual({ count: 1, lastAt: NOW });
  });
});

describe("I3: the retry mark", () => {
  test("stays with the row after a call that reached Google", () => {
    const { postponed } = settleFailure(failed(EVERY_FAILURE["timed-out"]), context());
    expect(postponed.earlierAttempt).toBe("reached-google");
  });

  test("is not set by a refusal of ours, which does not count as a failure either", () => {
    const refused = new BudgetSpent({ message: "project minute", retryAfterMs: 4_000 });
    const { postponed } = settleFailure(refused, context({ earlierAttempt: "none" }));
    expect(postponed).toMatchObject({ earlierAttempt: "none", dueReason: "budget" });
    expect(postponed.failure).toBeUndefined();
    expect(postponed.dueAt).toBeGreaterThanOrEqual(NOW + 4_000);
  });
});

test("Retry-After is honoured", () => {
  const failure = { kind: "rate-limited", scope: "user", retryAfterMs: 90_000 } as const;
  const { postponed } = settleFailure(failed(failure), context());
  expect(postponed.dueAt).toBeGreaterThanOrEqual(NOW + 90_000);
  expect(postponed.dueReason).toBe("retry-after");
});

test("a calendar is lost only when a second answer says so", () => {
  const missing = failed({ kind: "not-found" });
  const first = settleFailure(missing, context());
  expect(first.postponed).toMatchObject({ dueReason: "confirm-lost", state: { kind: "keep" } });

  const state = refreshState({ lastFailureCode: missing.code, consecutiveFailures: 1 });
  const second = settleFailure(missing, context({ state }));
  expect(second.postponed.state).toEqual({ kind: "lost", reason: "GCAL_NOT_FOUND" });
});

test("revoked credentials concern the account; a misconfigured client disconnects nobody", () => {
  expect(settleFailure(failed({ kind: "credentials-revoked" }), context()).accountEffect).toEqual({
    kind: "needs-reconnect",
    accountId: "acc_1",
    reason: "GCAL_CREDENTIALS_REVOKED",
  });
  const misconfigured = settleFailure(failed(EVERY_FAILURE["client-misconfigured"]), context());
  expect(misconfigured.accountEffect).toMatchObject({
    kind: "project-trouble",
    reason: "GCAL_CLIENT_MISCONFIGURED",
    detail: "invalid_client",
  });
});

test("a page that is too large halves the page size and begins the listing again", () => {
  const state = refreshState({ pageSize: 2500, unfinished: twoPagesStored });
  const settlement = settleFailure(failed(EVERY_FAILURE["response-too-large"]), context({ state }));
  expect(settlement.again).toBe(true);
  expect(settlement.postponed).toMatchObject({ pageSize: 1250, dropUnfinished: true });
});

test("a dead page token begins the listing again, once", () => {
  const dead = failed({ kind: "page-token-dead" });
  const state = refreshState({ unfinished: twoPagesStored });
  expect(settleFailure(dead, context({ state }))).toMatchObject({
    again: true,
    postponed: { dropUnfinished: true, dropSyncToken: false },
  });
  expect(settleFailure(dead, context()).again).toBe(false);
});

test("a page token that dies each time it is used waits, and is set aside", () => {
  const dead = failed({ kind: "page-token-dead" });
  const state = refreshState({ unfinished: twoPagesStored, consecutiveFailures: 1 });
  const second = settleFailure(dead, context({ state }));
  expect(second.again).toBe(false);
  expect(second.postponed.dueAt).toBeGreaterThan(NOW);

  const eighth = settleFailure(dead, context({ state: { ...state, consecutiveFailures: 7 } }));
  expect(eighth).toMatchObject({ again: false, postponed: { state: { kind: "slowed" } } });
  expect(eighth.postponed.dueAt).toBeGreaterThan(NOW + HOUR);
});

test("a body that is too large at any page size is asked for a dozen times, then counted as a failure", () => {
  const tooLarge = failed(EVERY_FAILURE["response-too-large"]);
  let pageSize = 2_500;
  let halved = 0;
  for (; halved < 100; halved += 1) {
    const { again, postponed } = settleFailure(
      tooLarge,
      context({ state: refreshState({ pageSize }) }),
    );
    if (!again) break;
    pageSize = postponed.pageSize ?? pageSize;
  }
  expect({ halved, pageSize }).toEqual({ halved: 11, pageSize: 1 });
  const state = refreshState({ pageSize, consecutiveFailures: 7 });
  expect(settleFailure(tooLarge, context({ state })).postponed.state).toEqual({
    kind: "slowed",
    reason: "GCAL_RESPONSE_TOO_LARGE",
  });
});

test("a listing that does not end is set aside at once, and what it brought is dropped", () => {
  const state = refreshState({ unfinished: twoPagesStored });
  const endless = new EndlessListing("a page token came back", 2);
  const { again, postponed } = settleFailure(endless, context({ state }));
  expect(again).toBe(false);
  expect(postponed).toMatchObject({
    dropUnfinished: true,
    dropSyncToken: false,
    state: { kind: "slowed", reason: "BALLAST_ENDLESS_LISTING" },
    failure: { code: "BALLAST_ENDLESS_LISTING", consecutive: 1 },
  });
  expect(postponed.dueAt - NOW).toBe(24 * HOUR);
});

test("the eighth failure in a row sets the calendar aside with its reason", () => {
  const state = refreshState({ consecutiveFailures: 7 });
  const { postponed } = settleFailure(failed(EVERY_FAILURE["timed-out"]), context({ state }));
  expect(postponed.state).toEqual({ kind: "slowed", reason: "GCAL_TIMED_OUT" });
  expect(postponed.failure).toEqual({ code: "GCAL_TIMED_OUT", consecutive: 8 });
});

test("a bug waits like a failure and names itself", () => {
  const { postponed } = settleFailure(new TypeError("undefined is not a function"), context());
  expect(postponed.failure?.code).toBe("BALLAST_BUG");
  expect(postponed.dueAt).toBeGreaterThan(NOW);
});
