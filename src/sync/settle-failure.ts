import type { DueReason } from "../core/calendar-store.ts";
import { epochMs, type EpochMs } from "../core/clock.ts";
import { CallFailed } from "../core/failure.ts";
import { FAILURE_POLICY, retryAfterOf } from "../core/failure-policy.ts";
import type { RefreshPostponed, RefreshState } from "../core/refresh-store.ts";
import { Refused, type RefusalCode } from "../core/refusal.ts";
import type { EarlierAttempt } from "../core/request.ts";
import { accountEffectOf, type AccountEffect } from "./account-effect.ts";
import {
  ASK_ALARMED_AGAIN_MS,
  backoffMs,
  nextPollAt,
  SLOWED_INTERVAL_MS,
  waitAfterRefusal,
  type Random,
} from "./schedule.ts";
import { EndlessListing } from "./watch-listing.ts";

/** How a refresh that failed leaves its row, and whether the same job begins again at once. */
export interface Settlement {
  readonly again: boolean;
  readonly code: string;
  readonly postponed: RefreshPostponed;
  readonly accountEffect: AccountEffect | undefined;
}

export interface FailureContext {
  readonly state: RefreshState;
  readonly earlierAttempt: EarlierAttempt;
  readonly now: EpochMs;
  readonly random: Random;
  /** The process is shutting down: whatever was thrown, the work was interrupted. */
  readonly isStopping: boolean;
}

/** After this many failures in a row a calendar is set aside: slowed, with its reason, reported. */
const SLOWED_AFTER_FAILURES = 8;
/** Each look at a listing that never ends may cost thousands of requests. */
const ENDLESS_INTERVAL_MS = 24 * 3_600_000;
const CONFIRM_LOST_AFTER_MS = 60_000;
/** Deaths of sync tokens within a day before the calendar is slowed instead of read in full again. */
const TOKEN_DEATHS_ALLOWED = 3;
const TOKEN_DEATH_MEMORY_MS = 24 * 3_600_000;
const TOKEN_LOOP_INTERVAL_MS = 3_600_000;

const REFUSAL_REASON: Record<RefusalCode, DueReason> = {
  BALLAST_LEDGER_UNAVAILABLE: "budget",
  BALLAST_PAUSED: "paused",
  BALLAST_BUDGET_SPENT: "budget",
  BALLAST_BREAKER_OPEN: "upstream-down",
  BALLAST_QUEUE_FULL: "budget",
  BALLAST_CLASS_NOT_ALLOWED: "budget",
  BALLAST_DEADLINE_PASSED: "budget",
  BALLAST_STORE_UNAVAILABLE: "store-unavailable",
  BALLAST_BATCH_REFUSED: "backoff",
  BALLAST_UNATTRIBUTED: "backoff",
};

/** Decide, from what was thrown, what becomes of the row. Pure: the same input settles the same way. */
export function settleFailure(error: unknown, context: FailureContext): Settlement {
  if (context.isStopping) {
    return settle(context, {
      code: "BALLAST_INTERRUPTED",
      dueAt: context.now,
      reason: "interrupted",
    });
  }
  if (error instanceof CallFailed) return settleCallFailed(error, context);
  if (error instanceof Refused) {
    // Not asked, so not failed: the counts and the retry mark stay as they were.
    const waitMs = waitAfterRefusal(error) ?? backoffMs(1, context.random);
    const spreadMs = Math.min(waitMs, 1_000) * context.random();
    return settle(context, {
      code: error.code,
      dueAt: epochMs(Math.round(context.now + waitMs + spreadMs)),
      reason: REFUSAL_REASON[error.code],
    });
  }
  if (error instanceof EndlessListing) return settleEndless(error, context);
  return settleBackoff("BALLAST_BUG", context, { reason: "backoff" });
}

function settleCallFailed(error: CallFailed, context: FailureContext): Settlement {
  const { code, failure } = error;
  const { owner } = FAILURE_POLICY[failure.kind];
  switch (owner.kind) {
    case "full-sync":
      return settleDeadToken(code, context);
    case "suspect-sync-token":
      return settleSuspect(code, context);
    case "restart-listing":
      return settleRestart(code, context);
    case "smaller-pages":
      return settleSmallerPages(code, context);
    case "confirm-lost":
      return settleMissing(code, context);
    case "reconnect":
      return {
        ...settleBackoff(code, context, { reason: "backoff" }),
        accountEffect: accountEffectOf(error, context.state.accountId),
      };
    case "alarm":
      return settleAlarm(error, context, owner.dueReason);
    case "postpone":
      return settleBackoff(code, context, {
        reason: owner.dueReason,
        retryAfterMs: retryAfterOf(failure),
      });
    // Answers to writes and watches; a listing that gets one waits like any other failure.
    case "give-up":
    case "read-again":
    case "poll-instead":
      break;
  }
  return settleBackoff(code, context, { reason: "backoff" });
}

function settleSuspect(code: string, context: FailureContext): Settlement {
  return context.state.lastFailureCode === code
    ? settleDeadToken(code, context)
    : settleBackoff(code, context, { reason: "backoff" });
}

function settleBackoff(
  code: string,
  context: FailureContext,
  wait: { readonly reason: DueReason; readonly retryAfterMs?: number | undefined },
): Settlement {
  const consecutive = context.state.consecutiveFailures + 1;
  const isSlowed = consecutive >= SLOWED_AFTER_FAILURES;
  const waitMs = Math.max(wait.retryAfterMs ?? 0, backoffMs(consecutive, context.random));
  return settle(context, {
    code,
    reason: wait.reason,
    dueAt: isSlowed
      ? nextPollAt(context.now, SLOWED_INTERVAL_MS, context.random)
      : epochMs(context.now + waitMs),
    changes: {
      failure: { code, consecutive },
      state: isSlowed ? { kind: "slowed", reason: code } : { kind: "keep" },
    },
  });
}

/** Counted against the calendar it would be set aside for hours after the fault, which is not its own, is over. */
function settleAlarm(error: CallFailed, context: FailureContext, reason: DueReason): Settlement {
  const { code } = error;
  return {
    ...settle(context, {
      code,
      reason,
      dueAt: nextPollAt(context.now, ASK_ALARMED_AGAIN_MS, context.random),
      changes: { failure: { code, consecutive: context.state.consecutiveFailures } },
    }),
    accountEffect: accountEffectOf(error, context.state.accountId),
  };
}

/** I5: the only place that drops a sync token. The published copy stays until the full read replaces it (I4). */
function settleDeadToken(code: string, context: FailureContext): Settlement {
  const { state, now } = context;
  const isRecent =
    state.lastTokenDeathAt !== undefined && now - state.lastTokenDeathAt < TOKEN_DEATH_MEMORY_MS;
  const count = isRecent ? state.tokenDeaths + 1 : 1;
  const isLoop = count > TOKEN_DEATHS_ALLOWED;
  const waitMs = TOKEN_LOOP_INTERVAL_MS * 2 ** Math.min(count - TOKEN_DEATHS_ALLOWED - 1, 4);
  return {
    ...settle(context, {
      code,
      reason: isLoop ? "token-loop" : "full-resync",
      dueAt: isLoop ? nextPollAt(now, waitMs, context.random) : now,
      changes: {
        // Another listing from here on: its first page was never asked for.
        earlierAttempt: "none",
        dropUnfinished: true,
        dropSyncToken: true,
        tokenDeaths: { count, lastAt: now },
        state: isLoop ? { kind: "slowed", reason: "token-loop" } : { kind: "keep" },
      },
    }),
    again: !isLoop,
  };
}

/**
 * At once, but only the first time: a page token that dies whenever it is used would have a long listing
 * read from its first page for ever, were it not counted and made to wait like any other failure.
 */
function settleRestart(code: string, context: FailureContext): Settlement {
  const { state, now } = context;
  const again = state.unfinished?.nextPageToken !== undefined && state.consecutiveFailures === 0;
  const settlement = settleBackoff(code, context, { reason: "backoff" });
  return {
    ...settlement,
    again,
    postponed: {
      ...settlement.postponed,
      dropUnfinished: true,
      earlierAttempt: "none",
      dueAt: again ? now : settlement.postponed.dueAt,
    },
  };
}

/** Set aside at once. What was read is dropped: going on from it would only fail again, at no request. */
function settleEndless({ code }: EndlessListing, context: FailureContext): Settlement {
  return settle(context, {
    code,
    reason: "backoff",
    dueAt: nextPollAt(context.now, ENDLESS_INTERVAL_MS, context.random),
    changes: {
      earlierAttempt: "none",
      dropUnfinished: true,
      failure: { code, consecutive: context.state.consecutiveFailures + 1 },
      state: { kind: "slowed", reason: code },
    },
  });
}

/** Counts no failure: the page size only ever shrinks, so this ends after a dozen times. */
function settleSmallerPages(code: string, context: FailureContext): Settlement {
  const { pageSize } = context.state;
  if (pageSize <= 1) return settleBackoff(code, context, { reason: "backoff" });
  return {
    ...settle(context, {
      code,
      reason: "more-pages",
      dueAt: context.now,
      changes: {
        // Google wants every page of a listing asked for alike, so the listing begins again.
        dropUnfinished: true,
        pageSize: Math.max(1, Math.floor(pageSize / 2)),
      },
    }),
    again: true,
  };
}

/** Gone, or access lost: believed when a second answer, a while later, says the same. */
function settleMissing(code: string, context: FailureContext): Settlement {
  const isConfirmed = context.state.lastFailureCode === code;
  return settle(context, {
    code,
    reason: "confirm-lost",
    dueAt: epochMs(context.now + CONFIRM_LOST_AFTER_MS),
    changes: {
      failure: { code, consecutive: context.state.consecutiveFailures + 1 },
      state: isConfirmed ? { kind: "lost", reason: code } : { kind: "keep" },
    },
  });
}

function settle(
  context: FailureContext,
  decision: {
    readonly code: string;
    readonly dueAt: EpochMs;
    readonly reason: DueReason;
    readonly changes?: Partial<RefreshPostponed>;
  },
): Settlement {
  return {
    again: false,
    code: decision.code,
    accountEffect: undefined,
    postponed: {
      dueAt: decision.dueAt,
      dueReason: decision.reason,
      earlierAttempt: context.earlierAttempt,
      dropUnfinished: false,
      dropSyncToken: false,
      state: { kind: "keep" },
      ...decision.changes,
    },
  };
}
