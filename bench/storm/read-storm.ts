import type { LoggedRequest } from "../../src/simulator/request-log.ts";

/** One second of a run, as Google saw it. */
export interface StormSecond {
  readonly sent: number;
  readonly first: number;
  readonly retry: number;
  readonly ok: number;
  /** Answered 403 or 429. */
  readonly rejected: number;
  /** Answered 5xx. */
  readonly failed: number;
}

/** A span of a run, seconds since its begin. */
export interface StormSpan {
  readonly from: number;
  readonly to: number;
}

/** What arrived at Google, judged alike for whoever sent it. */
export interface StormReading {
  readonly seconds: readonly StormSecond[];
  total(span: StormSpan): StormSecond;
  /** Successes of each account, in the order of the accounts given. */
  okOfAccounts(span: StormSpan): readonly number[];
}

/**
 * Sort a run's listings into seconds. A request for a calendar whose last request failed is a retry, whoever
 * sends it and whatever its sender calls it; any other is a logical call's first.
 */
export function readStorm(
  requests: readonly LoggedRequest[],
  run: {
    readonly beganAtMs: number;
    readonly seconds: number;
    readonly accounts: readonly string[];
  },
): StormReading {
  const seconds = Array.from({ length: run.seconds }, emptySecond);
  const failedLast = new Set<string>();
  const listings = requests
    .filter(({ operation, atMs }) => operation === "events.list" && atMs >= run.beganAtMs)
    .map((request) => ({ request, at: Math.floor((request.atMs - run.beganAtMs) / 1_000) }));
  for (const { request, at } of listings.toSorted((a, b) => a.request.atMs - b.request.atMs)) {
    const key = `${request.account}\n${request.calendar}`;
    const isRetry = failedLast.has(key);
    const isOk = request.status === 200;
    if (isOk) failedLast.delete(key);
    else failedLast.add(key);
    const second = seconds[at];
    if (second === undefined) continue;
    second.sent += 1;
    if (isRetry) second.retry += 1;
    else second.first += 1;
    if (isOk) second.ok += 1;
    else if (request.status === 403 || request.status === 429) second.rejected += 1;
    else second.failed += 1;
  }
  return {
    seconds,
    total: ({ from, to }) => seconds.slice(from, to).reduce(add, emptySecond()),
    okOfAccounts: ({ from, to }) => {
      const counts = new Map<string, number>();
      for (const { request, at } of listings) {
        if (at < from || at >= to || request.status !== 200) continue;
        counts.set(request.account, (counts.get(request.account) ?? 0) + 1);
      }
      return run.accounts.map((account) => counts.get(account) ?? 0);
    },
  };
}

/** The limit holds for a minute: who catches up at its full rate pauses when the minute is spent. */
const SPAN_SECONDS = 60;
/** A backlog that bursts through is no recovery: at first goodput must not sink for so long. */
const SINKING_SECONDS = 10;
const STEADY_SECONDS = 30;

/**
 * Seconds from the trouble's end to the first second whose goodput is 95 % of what is offered, from which on every
 * minute to the run's end holds as much, and in whose next half minute no ten seconds are below half of it;
 * undefined: not in the run.
 */
export function secondsToRecover(
  seconds: readonly StormSecond[],
  { endsAt, offeredPerSecond }: { readonly endsAt: number; readonly offeredPerSecond: number },
): number | undefined {
  const holds = (part: number, from: number, length: number): boolean =>
    seconds.slice(from, from + length).reduce((sum, { ok }) => sum + ok, 0) >=
    part * offeredPerSecond * length;
  for (let at = endsAt; at + SPAN_SECONDS <= seconds.length; at += 1) {
    const minutes = countTo(seconds.length - SPAN_SECONDS - at + 1);
    const tens = countTo(STEADY_SECONDS - SINKING_SECONDS + 1);
    const isBack =
      holds(0.95, at, 1) &&
      minutes.every((later) => holds(0.95, at + later, SPAN_SECONDS)) &&
      tens.every((later) => holds(0.5, at + later, SINKING_SECONDS));
    if (isBack) return at - endsAt;
  }
  return undefined;
}

function countTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index);
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

function emptySecond(): Mutable<StormSecond> {
  return { sent: 0, first: 0, retry: 0, ok: 0, rejected: 0, failed: 0 };
}

function add(sum: Mutable<StormSecond>, second: StormSecond): Mutable<StormSecond> {
  return {
    sent: sum.sent + second.sent,
    first: sum.first + second.first,
    retry: sum.retry + second.retry,
    ok: sum.ok + second.ok,
    rejected: sum.rejected + second.rejected,
    failed: sum.failed + second.failed,
  };
}
