import type { Clock } from "../core/clock.ts";
import type { AskAnswer } from "./ledger.ts";
import type { LaneAnswer, LaneRefusal, LedgerTerms } from "./ledger-reply.ts";
import type { LaneTake, PermitQueue } from "./permit-queue.ts";
import type { WaitingCall, WaitingLane } from "./waiting-call.ts";
import { refusalFor } from "./permit-refusal.ts";
import type { ReportBuffer } from "./report-buffer.ts";

const LEAST_BATCH = 8;
const MOST_BATCH = 128;
const LONGEST_LANE_SLEEP_MS = 10_000;

/** What an answer changes: the queue, the reports, and how many permits the next ask is for. */
export interface BrokerDesk {
  readonly queue: PermitQueue;
  readonly reports: ReportBuffer;
  readonly clock: Clock;
  /** No more than this process can send before the use-by. */
  mostAsks: number;
}

type Decision = Extract<AskAnswer, { readonly kind: "decided" }>;

/** Serve and refuse what was asked for, and let the rest sleep until its "not before". */
export function applyAnswer(
  desk: BrokerDesk,
  takes: readonly LaneTake[],
  decision: Decision,
): void {
  let servedAll = takes.length > 0;
  takes.forEach((take, index) => {
    const answer = decision.lanes[index];
    if (answer === undefined) return;
    if (answer.refusal?.limit !== "settling") desk.queue.setTag(take.waiting, answer.tag);
    if (!serve(desk, { take, answer }, decision)) servedAll = false;
    if (answer.refusal !== undefined) {
      servedAll = false;
      wait(desk, { waiting: take.waiting, refusal: answer.refusal }, decision.terms);
    }
  });
  // A full batch sent in time may be larger next time; `serve` halves it when one was not.
  const isTimely = desk.clock.monotonicMs() <= decision.useByMonotonicMs;
  if (servedAll && isTimely) desk.mostAsks = Math.min(MOST_BATCH, desk.mostAsks + 1);
}

/** False: some of it came too late to be used. */
function serve(
  desk: BrokerDesk,
  { take, answer }: { readonly take: LaneTake; readonly answer: LaneAnswer },
  decision: Decision,
): boolean {
  if (answer.granted === 0) return true;
  const isLate = desk.clock.monotonicMs() > decision.useByMonotonicMs;
  const calls = isLate ? [] : firstCalls(take.waiting, answer.granted);
  calls.forEach((call, index) => {
    const isProbe = answer.isProbe && index === 0;
    call.outcome.serve({ ask: call.ask, useByMonotonicMs: decision.useByMonotonicMs, isProbe });
  });
  const unused = answer.granted - calls.length;
  if (unused > 0) {
    // I1: its place in the windows stays taken; only the retry token and the probe are given back.
    const isProbe = answer.isProbe && calls.length === 0;
    desk.reports.add({
      lane: take.waiting.lane,
      outcome: { kind: "unused" },
      isProbe,
      count: unused,
    });
  }
  if (isLate) desk.mostAsks = Math.max(LEAST_BATCH, Math.floor(desk.mostAsks / 2));
  return !isLate;
}

function firstCalls(waiting: WaitingLane, count: number): readonly WaitingCall[] {
  const calls: WaitingCall[] = [];
  for (const call of waiting.calls) {
    if (calls.length === count) break;
    calls.push(call);
  }
  return calls;
}

/**
 * Sleep until the "not before", staggered; who may not wait so long is refused now. A limit that everyone shares
 * holds the whole line, so that 5,000 waiting tenants are not asked for one by one to hear the same.
 */
function wait(
  desk: BrokerDesk,
  { waiting, refusal }: { readonly waiting: WaitingLane; readonly refusal: LaneRefusal },
  terms: LedgerTerms,
): void {
  const nowMs = desk.clock.monotonicMs();
  const { waitMs } = refusal;
  const toldUntilMs = waitMs === undefined ? Number.POSITIVE_INFINITY : nowMs + waitMs;
  for (const call of desk.queue.expiring(waiting, refusal, toldUntilMs)) {
    call.outcome.refuse(refusalFor(call.ask, refusal));
  }
  const spacingMs = terms.spacingMs * (0.8 + 0.4 * Math.random());
  const askAgainMs = Math.min(waitMs ?? terms.askAgainMs, terms.askAgainMs);
  if (refusal.scope === "lane") {
    // A limit of the lane's own is believed for longer: thousands of lanes may be told no.
    const sleepMs = Math.min(LONGEST_LANE_SLEEP_MS, waitMs ?? 0);
    desk.queue.sleep(waiting, nowMs + Math.max(spacingMs, sleepMs));
    return;
  }
  const heldMs =
    refusal.limit === "settling"
      ? askAgainMs
      : Math.max(spacingMs, askAgainMs + spacingMs * Math.random());
  desk.queue.hold(waiting, refusal, { heldUntilMs: nowMs + heldMs, toldUntilMs });
}
