/**
 * The permit broker of one project: collects waiting calls, asks the ledger in batches, sleeps until its own
 * "not before".
 *
 * States of its loop: asleep (until something changes by itself, or a call, a report or a trip wakes it) → asking
 * (one ask at a time) → asleep … → closed. A call: waiting → asked for → served | refused | cancelled, once.
 * It never grants by itself, and passes on no permit whose use-by is over (I1).
 */
import type { Clock } from "../core/clock.ts";
import type { FailureKind } from "../core/failure.ts";
import { DeadlinePassed, QueueFull } from "../core/refusal.ts";
import { applyAnswer, type BrokerDesk } from "./apply-answer.ts";
import { createDoze, type Doze } from "./doze.ts";
import type { Ledger } from "./ledger.ts";
import type { Permit, PermitAsk, PermitOutcome, Upstream } from "./permit.ts";
import { createPermitQueue } from "./permit-queue.ts";
import type { WaitingCall } from "./waiting-call.ts";
import { refusalFor, unavailableFor } from "./permit-refusal.ts";
import { createReportBuffer } from "./report-buffer.ts";

const MOST_TENANTS = 16;
const REPORT_AFTER_MS = 100;
const HEARTBEAT_MS = 700;
const SEEN_WITHIN_MS = 100;
const TROUBLE_PAUSE_MS = 100;
const LEAST_WAIT_MS = 50;
/** Timers overflow far beyond this. */
const LONGEST_SLEEP_MS = 600_000;

interface ProjectBroker {
  acquire(ask: PermitAsk): Promise<Permit>;
  report(permit: Permit, outcome: PermitOutcome, reason?: FailureKind): void;
  openBreaker(upstream: Upstream): Promise<void>;
  close(): Promise<void>;
}

interface Loop extends BrokerDesk {
  readonly ledger: Ledger;
  readonly doze: Doze;
  readonly trips: Set<Upstream>;
  /** Why the last ask brought no decision; asks pause until `pausedUntilMs`. */
  trouble: { readonly why: string; readonly cause: unknown } | undefined;
  pausedUntilMs: number;
  contactAtMs: number;
  reportByMs: number;
  isClosed: boolean;
}

/** The broker of one project's ledger. It closes what it was given nothing of: the ledger is its owner's. */
export function createProjectBroker(
  options: { readonly mostWaiting: number },
  deps: { readonly ledger: Ledger; readonly clock: Clock },
): ProjectBroker {
  const loop: Loop = {
    ...deps,
    queue: createPermitQueue(),
    reports: createReportBuffer(),
    doze: createDoze(deps),
    trips: new Set(),
    mostAsks: 64,
    trouble: undefined,
    pausedUntilMs: 0,
    contactAtMs: Number.NEGATIVE_INFINITY,
    reportByMs: Number.POSITIVE_INFINITY,
    isClosed: false,
  };
  const running = run(loop);

  return {
    acquire: (ask) => acquire(loop, ask, options.mostWaiting),
    report: ({ ask, isProbe }, outcome, reason) => {
      loop.reports.add({ lane: ask, outcome, reason, isProbe, count: 1 });
      if (loop.reportByMs === Number.POSITIVE_INFINITY || loop.reports.isUrgent) {
        loop.reportByMs = Math.min(
          loop.reportByMs,
          loop.clock.monotonicMs() + (loop.reports.isUrgent ? 0 : REPORT_AFTER_MS),
        );
        loop.doze.wake();
      }
    },
    openBreaker: async (upstream) => {
      loop.trips.add(upstream);
      await tellTrips(loop);
      loop.doze.wake();
    },
    close: async () => {
      loop.isClosed = true;
      loop.doze.wake();
      await running;
    },
  };
}

function acquire(loop: Loop, ask: PermitAsk, mostWaiting: number): Promise<Permit> {
  return new Promise((resolve, reject) => {
    if (ask.signal.aborted) {
      reject(reasonOf(ask.signal));
      return;
    }
    if (loop.isClosed) {
      reject(closingError(ask));
      return;
    }
    if (loop.queue.size >= mostWaiting) {
      reject(
        new QueueFull({
          message: `${ask.operation} of ${ask.attribution.tenantId} was not sent: ${mostWaiting} calls wait in this process already`,
          retryAfterMs: 1_000,
        }),
      );
      return;
    }
    const foretold = loop.queue.foretell(ask, loop.clock.monotonicMs());
    if (foretold !== undefined) {
      reject(refusalFor(ask, foretold));
      return;
    }
    const onAbort = (): void => {
      loop.queue.remove(call);
      reject(reasonOf(ask.signal));
    };
    const leave = (): void => {
      ask.signal.removeEventListener("abort", onAbort);
      loop.queue.remove(call);
    };
    const call: WaitingCall = loop.queue.add({
      ask,
      // Who may not wait at all still hears what the ledger says.
      expiresAtMs: loop.clock.monotonicMs() + Math.max(ask.maxWaitMs, LEAST_WAIT_MS),
      outcome: {
        serve: (permit) => {
          leave();
          resolve(permit);
        },
        refuse: (error) => {
          leave();
          reject(error);
        },
      },
    });
    ask.signal.addEventListener("abort", onAbort, { once: true });
    loop.doze.wake();
  });
}

async function run(loop: Loop): Promise<void> {
  for (;;) {
    refuseExpired(loop);
    if (loop.isClosed) break;
    const nowMs = loop.clock.monotonicMs();
    if (isAskDue(loop, nowMs)) await exchange(loop);
    else await loop.doze.sleep(sleepMs(loop, nowMs));
  }
  for (const call of loop.queue.all()) call.outcome.refuse(closingError(call.ask));
  // The last outcomes are told if the ledger answers; nothing hangs on them.
  if (loop.reports.size > 0) await exchange(loop);
  try {
    if (loop.ledger.witness.known.epochNumber > 0) await loop.ledger.retire(false);
  } catch (error) {
    // It is forgotten by itself after W+J+D.
    loop.trouble = { why: "the ledger is away", cause: error };
  }
}

function isAskDue(loop: Loop, nowMs: number): boolean {
  if (loop.pausedUntilMs > nowMs) return false;
  return loop.trips.size > 0 || isContactDue(loop, nowMs) || loop.queue.hasAskable(nowMs);
}

function isContactDue(loop: Loop, nowMs: number): boolean {
  return loop.reportByMs <= nowMs || heartbeatAtMs(loop, nowMs) <= nowMs;
}

/** While own grants still count this process stays in touch: it can tell a loss, and vouch for who asked. */
function heartbeatAtMs(loop: Loop, nowMs: number): number {
  if (!loop.ledger.witness.holdsGrants(nowMs)) return Number.POSITIVE_INFINITY;
  return loop.contactAtMs + HEARTBEAT_MS;
}

function sleepMs(loop: Loop, nowMs: number): number | undefined {
  const nextMs = Math.min(
    loop.reportByMs,
    heartbeatAtMs(loop, nowMs),
    loop.queue.nextChangeMs(nowMs) ?? Number.POSITIVE_INFINITY,
  );
  // A paused loop still refuses what runs out of time.
  const paused = loop.pausedUntilMs > nowMs;
  const askable = paused && loop.queue.hasAskable(nowMs);
  const wakeMs = askable ? Math.min(nextMs, loop.pausedUntilMs) : nextMs;
  if (wakeMs === Number.POSITIVE_INFINITY) return undefined;
  const least = paused ? Math.min(loop.pausedUntilMs - nowMs, 20) : 0;
  return Math.min(LONGEST_SLEEP_MS, Math.max(1, least, wakeMs - nowMs));
}

function refuseExpired(loop: Loop): void {
  for (const { call, refusal } of loop.queue.expired(loop.clock.monotonicMs())) {
    call.outcome.refuse(
      loop.trouble === undefined
        ? refusalFor(call.ask, refusal)
        : unavailableFor(call.ask, loop.trouble.why, loop.trouble.cause),
    );
  }
}

async function exchange(loop: Loop): Promise<void> {
  const nowMs = loop.clock.monotonicMs();
  const reports = loop.reports.take();
  const takes = loop.queue.take({ nowMs, maxTenants: MOST_TENANTS, maxAsks: loop.mostAsks });
  loop.contactAtMs = nowMs;
  loop.reportByMs = loop.reports.size > 0 ? nowMs + REPORT_AFTER_MS : Number.POSITIVE_INFINITY;
  try {
    await tellTrips(loop);
    const answer = await loop.ledger.ask({
      reports,
      lanes: takes.map(({ waiting, count }) => ({
        lane: waiting.lane,
        count,
        more: waiting.calls.size - count,
      })),
    });
    if (answer.kind === "decided") {
      loop.trouble = undefined;
      if (answer.terms.isSomeoneSettling) loop.contactAtMs = nowMs - HEARTBEAT_MS + SEEN_WITHIN_MS;
      applyAnswer(loop, takes, answer);
    } else {
      loop.trouble = { why: answer.why, cause: undefined };
      if (answer.why !== "new-epoch") pause(loop);
    }
  } catch (error) {
    loop.reports.giveBack(reports);
    loop.trouble = { why: error instanceof Error ? error.message : "unknown", cause: error };
    pause(loop);
  } finally {
    loop.queue.giveBack(takes);
  }
}

async function tellTrips(loop: Loop): Promise<void> {
  for (const upstream of loop.trips) {
    try {
      await loop.ledger.openBreaker(upstream);
      loop.trips.delete(upstream);
    } catch (error) {
      // While the ledger is away nobody sends anything; it is told when it is back.
      loop.trouble = { why: "the ledger is away", cause: error };
      return;
    }
  }
}

/** Jittered, so that a fleet that lost its ledger together does not come back together. */
function pause(loop: Loop): void {
  loop.pausedUntilMs = loop.clock.monotonicMs() + TROUBLE_PAUSE_MS * (0.5 + Math.random());
}

function closingError(ask: PermitAsk): DeadlinePassed {
  return new DeadlinePassed({
    message: `${ask.operation} of ${ask.attribution.tenantId} was not sent: this process is stopping`,
  });
}

function reasonOf(signal: AbortSignal): Error {
  return signal.reason instanceof Error
    ? signal.reason
    : new Error("Aborted", { cause: signal.reason });
}
