import type { CalendarSource, EventsPage } from "../core/calendar-source.ts";
import { epochMs, type Clock, type EpochMs } from "../core/clock.ts";
import type { Consumer, CalendarId } from "../core/ids.ts";
import type { PlanPoll } from "../core/poll-store.ts";
import type {
  PublishedChanges,
  RefreshKind,
  RefreshLease,
  RefreshState,
  RefreshStore,
} from "../core/refresh-store.ts";
import { REQUEST_CLASSES, type EarlierAttempt, type RequestClass } from "../core/request.ts";
import { decideRefresh, type RefreshPlan } from "./decide-refresh.ts";
import type { PublishedNews } from "./judge-silence.ts";
import type { Random } from "./schedule.ts";
import type { AccountEffect } from "./account-effect.ts";
import { settleFailure, type Settlement } from "./settle-failure.ts";
import { persist } from "./persist.ts";
import { watchListing } from "./watch-listing.ts";

/**
 * One refresh of one calendar.
 *
 * States: leased → listing (page by page; each page is stored before the next is asked for)
 *   → published                 the copy, its token and its marks moved in one transaction (I4)
 *   → postponed                 the row says when and why again; what is published stays
 *   → skipped                   somebody else has the lease, or nothing is due
 *   → fenced-out                the lease was lost; nothing was written (I7)
 * A dead token, a dead page token or a page that is too large settles the row and begins again in the
 * same job, a bounded number of times.
 */
export interface RefreshOptions {
  /** How long a lease holds: longer than a page may take, or its holder is fenced out at work. */
  readonly leaseMs: number;
  /** How long one page may take, waiting and retries included. */
  readonly pageDeadlineMs: number;
  /** After this long a listing gives its place to others and goes on later from its page. */
  readonly jobDeadlineMs: number;
  readonly consumer: Consumer;
}

export interface RefreshDeps {
  readonly source: CalendarSource;
  readonly refreshes: RefreshStore;
  readonly clock: Clock;
  readonly random: Random;
  /** When a calendar that was just published is polled next. */
  readonly planPoll: PlanPoll;
  /** A failure that is about the account and not the calendar: reported once, by who keeps accounts. */
  readonly onAccountEffect: (effect: AccountEffect) => Promise<void>;
  /** Told after a sync token brought changes: what was not notified and found all the same. Does not throw. */
  readonly onNews?: (news: PublishedNews) => Promise<void>;
}

export type RefreshOutcome =
  | {
      readonly kind: "published";
      readonly refresh: RefreshKind;
      readonly generation: number;
      readonly changes: PublishedChanges;
      readonly pages: number;
      readonly requests: number;
    }
  | {
      readonly kind: "postponed";
      readonly settlement: Settlement;
      readonly requests: number;
      readonly error: unknown;
    }
  | { readonly kind: "skipped"; readonly reason: string }
  | { readonly kind: "fenced-out"; readonly requests: number };

/** How often one job may begin again after a dead token or a page that was too large. */
const MAX_ROUNDS = 8;

export type RefreshCalendar = (
  calendarId: CalendarId,
  run: { readonly class: RequestClass; readonly signal: AbortSignal },
) => Promise<RefreshOutcome>;

/** Build the refresh. Never throws for what Google, the budget or the clock may do; only for bugs and a lost database. */
export function createRefreshCalendar(options: RefreshOptions, deps: RefreshDeps): RefreshCalendar {
  const { clock } = deps;

  return async (calendarId, run) => {
    const deadlineMs = clock.monotonicMs() + options.jobDeadlineMs;
    let requests = 0;
    for (let round = 1; ; round += 1) {
      const begun = await persist(
        () => {
          const now = clock.now();
          return deps.refreshes.begin(calendarId, { now, until: epochMs(now + options.leaseMs) });
        },
        { clock, signal: run.signal },
      );
      if (begun.kind !== "begun") return { kind: "skipped", reason: begun.kind };

      const attempt: Attempt = {
        signal: run.signal,
        class: moreUrgent(run.class, begun.state.dueClass),
        lease: begun.lease,
        state: begun.state,
        deadlineMs,
        requests: 0,
        earlierAttempt: begun.state.earlierAttempt,
        options,
        deps,
      };
      const outcome = await runAttempt(attempt);
      requests += attempt.requests;
      if (outcome.kind === "postponed" && outcome.settlement.again && round < MAX_ROUNDS) continue;
      return { ...outcome, requests };
    }
  };
}

/** A job that was queued as background work serves a person who asked meanwhile, too. */
function moreUrgent(one: RequestClass, other: RequestClass): RequestClass {
  return REQUEST_CLASSES.indexOf(one) <= REQUEST_CLASSES.indexOf(other) ? one : other;
}

type AttemptOutcome = Exclude<RefreshOutcome, { kind: "skipped" }>;

/** One lease's work, and what it has sent so far. */
interface Attempt {
  readonly lease: RefreshLease;
  readonly state: RefreshState;
  readonly class: RequestClass;
  readonly signal: AbortSignal;
  readonly deadlineMs: number;
  readonly options: RefreshOptions;
  readonly deps: RefreshDeps;
  requests: number;
  earlierAttempt: EarlierAttempt;
}

async function runAttempt(attempt: Attempt): Promise<AttemptOutcome> {
  try {
    return await list(attempt);
  } catch (error) {
    const settlement = settleFailure(error, {
      state: attempt.state,
      earlierAttempt: attempt.earlierAttempt,
      now: attempt.deps.clock.now(),
      random: attempt.deps.random,
      isStopping: attempt.signal.aborted,
    });
    return postpone(attempt, settlement, error);
  }
}

async function list(attempt: Attempt): Promise<AttemptOutcome> {
  const { state, deps } = attempt;
  const plan = decideRefresh(state, {
    fingerprint: deps.source.eventsFingerprint,
    now: deps.clock.now(),
  });
  const watch = watchListing();
  let { pageToken, pagesStored } = plan;
  for (;;) {
    watch.checkLength(pagesStored);
    const page = await fetchPage(attempt, plan, pageToken);
    const progress = { plan, pagesStored };
    if (page.nextPageToken === undefined) return publishPage(attempt, progress, page);

    watch.note(page, pagesStored);
    const stored = await stagePage(attempt, progress, page);
    if (stored === "fenced-out") {
      return { kind: "fenced-out", requests: attempt.requests };
    }
    attempt.earlierAttempt = "none";
    pageToken = page.nextPageToken;
    pagesStored += 1;
    if (deps.clock.monotonicMs() >= attempt.deadlineMs) {
      return postpone(attempt, morePages(deps.clock.now()), undefined);
    }
  }
}

function fetchPage(
  attempt: Attempt,
  plan: RefreshPlan,
  pageToken: string | undefined,
): Promise<EventsPage> {
  const { state, options } = attempt;
  return attempt.deps.source.listEvents(
    { accountId: state.accountId, googleCalendarId: state.googleId },
    { syncToken: plan.syncToken, pageToken, pageSize: state.pageSize },
    {
      consumer: options.consumer,
      class: attempt.class,
      earlierAttempt: attempt.earlierAttempt,
      onSent: () => {
        attempt.requests += 1;
        // From here until the page is stored, whoever asks for it again is retrying (I3).
        attempt.earlierAttempt = "reached-google";
      },
      deadlineMs: options.pageDeadlineMs,
      signal: attempt.signal,
    },
  );
}

interface Progress {
  readonly plan: RefreshPlan;
  readonly pagesStored: number;
}

/** The mark that this listing serves: requests made after it began want another one (I6). */
function servedMark({ state }: Attempt, { plan }: Progress): number {
  return plan.pagesStored > 0 && state.unfinished !== undefined
    ? state.unfinished.requestedAtStart
    : state.requested;
}

function stagePage(
  attempt: Attempt,
  progress: Progress,
  page: EventsPage & { readonly nextPageToken: string },
): Promise<"staged" | "fenced-out"> {
  const { deps, options, signal } = attempt;
  const { clock } = deps;
  return persist(
    () =>
      deps.refreshes.stagePage(attempt.lease, {
        kind: progress.plan.kind,
        isFirst: progress.pagesStored === 0,
        startedAt: progress.plan.startedAt,
        fingerprint: deps.source.eventsFingerprint,
        requestedAtStart: servedMark(attempt, progress),
        items: page.items,
        nextPageToken: page.nextPageToken,
        leaseUntil: epochMs(clock.now() + options.leaseMs),
      }),
    { clock, signal },
  );
}

async function publishPage(
  attempt: Attempt,
  progress: Progress,
  page: EventsPage & { readonly nextPageToken: undefined },
): Promise<AttemptOutcome> {
  const { deps, signal } = attempt;
  const { clock } = deps;
  const { plan } = progress;
  const now = clock.now();
  const result = await persist(
    () =>
      deps.refreshes.publish(attempt.lease, {
        kind: plan.kind,
        isFirst: progress.pagesStored === 0,
        startedAt: plan.startedAt,
        items: page.items,
        syncToken: page.nextSyncToken,
        queryFingerprint: deps.source.eventsFingerprint,
        timeZone: page.timeZone,
        accessRole: page.accessRole,
        served: servedMark(attempt, progress),
        nextPoll: (facts) => deps.planPoll(facts, now),
        now,
        run: { kind: plan.kind, at: now, class: attempt.class, requests: attempt.requests },
      }),
    { clock, signal },
  );
  const { requests } = attempt;
  if (result.kind === "fenced-out") return { kind: "fenced-out", requests };
  const { calendarId } = attempt.lease;
  if (plan.kind === "incremental" && page.items.length > 0) {
    await deps.onNews?.({ calendarId, class: attempt.class, items: page.items });
  }
  return {
    kind: "published",
    refresh: plan.kind,
    generation: result.generation,
    changes: result.changes,
    pages: progress.pagesStored + 1,
    requests,
  };
}

async function postpone(
  attempt: Attempt,
  settlement: Settlement,
  error: unknown,
): Promise<AttemptOutcome> {
  const { requests, deps, signal } = attempt;
  // Given up, the row would wait its whole lease out.
  const { state, class: requestClass } = attempt;
  const kind = state.unfinished?.kind ?? (state.syncToken === undefined ? "full" : "incremental");
  const at = deps.clock.now();
  const run = { kind, at, class: requestClass, requests, code: settlement.code };
  const ended = await persist(
    () => deps.refreshes.postpone(attempt.lease, { ...settlement.postponed, run }),
    { clock: deps.clock, signal },
  );
  if (ended === "fenced-out") return { kind: "fenced-out", requests };
  if (settlement.accountEffect !== undefined) await deps.onAccountEffect(settlement.accountEffect);
  return { kind: "postponed", settlement, requests, error };
}

/** A long listing gives way after its deadline: its pages are kept and it goes on at its turn. */
function morePages(now: EpochMs): Settlement {
  return {
    again: false,
    code: "BALLAST_MORE_PAGES",
    accountEffect: undefined,
    postponed: {
      dueAt: now,
      dueReason: "more-pages",
      earlierAttempt: "none",
      dropUnfinished: false,
      dropSyncToken: false,
      state: { kind: "keep" },
    },
  };
}
