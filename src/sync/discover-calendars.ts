import type {
  AccountStore,
  DiscoveredChanges,
  DiscoveryLease,
  DiscoveryPostponed,
  DiscoveryState,
} from "../core/account-store.ts";
import type { CalendarSource } from "../core/calendar-source.ts";
import { epochMs, type Clock, type EpochMs } from "../core/clock.ts";
import { CallFailed } from "../core/failure.ts";
import { FAILURE_POLICY, retryAfterOf } from "../core/failure-policy.ts";
import type { CalendarListEntry } from "../core/google-event.ts";
import type { AccountId, Consumer } from "../core/ids.ts";
import { Refused } from "../core/refusal.ts";
import type { EarlierAttempt, RequestClass } from "../core/request.ts";
import { persist } from "./persist.ts";
import {
  ASK_ALARMED_AGAIN_MS,
  backoffMs,
  nextPollAt,
  waitAfterRefusal,
  type Random,
} from "./schedule.ts";
import { accountEffectOf, type AccountEffect } from "./account-effect.ts";

/**
 * Keep an account's calendars known: which exist, which are hidden, which it lost.
 *
 * States: leased → listing → applied (one transaction) | postponed | skipped | fenced-out. A calendar
 * list is small (Google caps a page at 250), so its pages are held until the last one is there.
 */
export interface DiscoveryOptions {
  readonly leaseMs: number;
  readonly pageDeadlineMs: number;
  /** Until the list is read again, give or take a quarter. */
  readonly intervalMs: () => number;
  readonly consumer: Consumer;
}

export interface DiscoveryDeps {
  readonly source: CalendarSource;
  readonly accounts: AccountStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly onAccountEffect: (effect: AccountEffect) => Promise<void>;
}

export type DiscoveryOutcome =
  | { readonly kind: "applied"; readonly changes: DiscoveredChanges; readonly requests: number }
  | {
      readonly kind: "postponed";
      readonly code: string;
      readonly requests: number;
      readonly error: unknown;
    }
  | { readonly kind: "skipped"; readonly reason: string }
  | { readonly kind: "fenced-out"; readonly requests: number };

/** Google's cap for calendarList.list. */
const PAGE_SIZE = 250;
/** 50,000 calendars of one account: beyond that a list is taken for one that never ends. */
const MAX_PAGES = 200;
/** A calendar missing from a full list is asked for again this much later, before it counts as lost. */
const CONFIRM_MISSING_AFTER_MS = 60_000;

export type DiscoverCalendars = (
  accountId: AccountId,
  run: { readonly class: RequestClass; readonly signal: AbortSignal },
) => Promise<DiscoveryOutcome>;

/** Build discovery. Throws only for bugs and a lost database. */
export function createDiscoverCalendars(
  options: DiscoveryOptions,
  deps: DiscoveryDeps,
): DiscoverCalendars {
  return async (accountId, run) => {
    const first = await discoverOnce(accountId, run, { options, deps });
    // A dead list token settles the row and leaves it due: read the whole list in the same job, once.
    const isDeadToken = first.kind === "postponed" && dropsToken(first.error);
    if (!isDeadToken) return first;
    const second = await discoverOnce(accountId, run, { options, deps });
    return "requests" in second
      ? { ...second, requests: first.requests + second.requests }
      : second;
  };
}

async function discoverOnce(
  accountId: AccountId,
  run: { readonly class: RequestClass; readonly signal: AbortSignal },
  { options, deps }: { readonly options: DiscoveryOptions; readonly deps: DiscoveryDeps },
): Promise<DiscoveryOutcome> {
  const { clock, accounts } = deps;
  const begun = await persist(
    () => {
      const now = clock.now();
      return accounts.beginDiscovery(accountId, { now, until: epochMs(now + options.leaseMs) });
    },
    { clock, signal: run.signal },
  );
  if (begun.kind !== "begun") return { kind: "skipped", reason: begun.kind };
  const { lease, state } = begun;
  const calls = { requests: 0, earlierAttempt: state.earlierAttempt };

  try {
    const listed = await listAll(state, run, { options, deps, calls });
    const appliedAt = clock.now();
    const result = await persist(
      () =>
        accounts.applyDiscovery(lease, {
          ...listed,
          served: state.requested,
          queryFingerprint: deps.source.calendarListFingerprint,
          nextDueAt: nextPollAt(appliedAt, options.intervalMs(), deps.random),
          confirmAt: epochMs(appliedAt + CONFIRM_MISSING_AFTER_MS),
          now: appliedAt,
        }),
      { clock, signal: run.signal },
    );
    if (result.kind === "fenced-out") return { kind: "fenced-out", requests: calls.requests };
    return { kind: "applied", changes: result.changes, requests: calls.requests };
  } catch (error) {
    return settle(error, { lease, state, calls, run, deps });
  }
}

interface Calls {
  requests: number;
  earlierAttempt: EarlierAttempt;
}

async function listAll(
  state: DiscoveryState,
  run: { readonly class: RequestClass; readonly signal: AbortSignal },
  context: {
    readonly options: DiscoveryOptions;
    readonly deps: DiscoveryDeps;
    readonly calls: Calls;
  },
): Promise<{
  readonly kind: "full" | "incremental";
  readonly entries: readonly CalendarListEntry[];
  readonly syncToken: string;
}> {
  const { options, deps, calls } = context;
  const canUseToken =
    state.syncToken !== undefined && state.queryFingerprint === deps.source.calendarListFingerprint;
  const syncToken = canUseToken ? state.syncToken : undefined;
  const entries: CalendarListEntry[] = [];
  let pages = 0;
  let pageToken: string | undefined;
  for (;;) {
    const page = await deps.source.listCalendars(
      state.accountId,
      { syncToken, pageToken, pageSize: PAGE_SIZE },
      {
        consumer: options.consumer,
        class: run.class,
        earlierAttempt: calls.earlierAttempt,
        onSent: () => {
          calls.requests += 1;
          calls.earlierAttempt = "reached-google";
        },
        deadlineMs: options.pageDeadlineMs,
        signal: run.signal,
      },
    );
    calls.earlierAttempt = "none";
    entries.push(...page.items);
    pages += 1;
    if (pages > MAX_PAGES) {
      throw new CallFailed(
        { kind: "malformed-response", detail: `the list goes on after ${String(pages)} pages` },
        { operation: "calendarList.list" },
      );
    }
    if (page.nextPageToken === undefined) {
      return {
        kind: syncToken === undefined ? "full" : "incremental",
        entries,
        syncToken: page.nextSyncToken,
      };
    }
    pageToken = page.nextPageToken;
  }
}

async function settle(
  error: unknown,
  context: {
    readonly lease: DiscoveryLease;
    readonly state: DiscoveryState;
    readonly calls: Calls;
    readonly run: { readonly signal: AbortSignal };
    readonly deps: DiscoveryDeps;
  },
): Promise<DiscoveryOutcome> {
  const { state, calls, deps } = context;
  const { outcome, code } = settleDiscovery(error, {
    state,
    earlierAttempt: calls.earlierAttempt,
    now: deps.clock.now(),
    random: deps.random,
    isStopping: context.run.signal.aborted,
  });
  const ended = await persist(() => deps.accounts.postponeDiscovery(context.lease, outcome), {
    clock: deps.clock,
    signal: context.run.signal,
  });
  if (ended === "fenced-out") return { kind: "fenced-out", requests: calls.requests };
  const effect = accountEffectOf(error, state.accountId);
  if (effect !== undefined) await deps.onAccountEffect(effect);
  return { kind: "postponed", code, requests: calls.requests, error };
}

function settleDiscovery(
  error: unknown,
  context: {
    readonly state: DiscoveryState;
    readonly earlierAttempt: EarlierAttempt;
    readonly now: EpochMs;
    readonly random: Random;
    readonly isStopping: boolean;
  },
): { readonly outcome: DiscoveryPostponed; readonly code: string } {
  const { now, earlierAttempt } = context;
  if (context.isStopping) {
    const code = "BALLAST_INTERRUPTED";
    return { code, outcome: { dueAt: now, reason: code, earlierAttempt, dropSyncToken: false } };
  }
  const code = codeOf(error);
  if (dropsToken(error)) {
    return {
      code,
      outcome: { dueAt: now, reason: code, earlierAttempt: "none", dropSyncToken: true },
    };
  }
  const consecutive = context.state.consecutiveFailures + 1;
  const waitMs = waitOf(error) ?? backoffMs(consecutive, context.random);
  return {
    code,
    outcome: {
      dueAt: epochMs(now + waitMs),
      reason: code,
      earlierAttempt,
      failure: error instanceof Refused ? undefined : { code, consecutive },
      dropSyncToken: false,
    },
  };
}

/** I5 for calendar lists: Google itself said that the token is dead. */
function dropsToken(error: unknown): boolean {
  return error instanceof CallFailed && error.failure.kind === "sync-token-dead";
}

function codeOf(error: unknown): string {
  return error instanceof CallFailed || error instanceof Refused ? error.code : "BALLAST_BUG";
}

function waitOf(error: unknown): number | undefined {
  if (error instanceof Refused) return waitAfterRefusal(error);
  if (!(error instanceof CallFailed)) return undefined;
  const isAlarm = FAILURE_POLICY[error.failure.kind].owner.kind === "alarm";
  return isAlarm ? ASK_ALARMED_AGAIN_MS : retryAfterOf(error.failure);
}
