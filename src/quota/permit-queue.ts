/**
 * What waits in this process for one project's ledger: who is asked for next, in time that hardly grows with the
 * number of tenants that wait.
 *
 * A waiting call belongs to a lane (asks alike to every limit), a lane to a seat (a tenant in a line), a seat to a
 * line (upstream and class). States of a lane: awake, asleep (its own limit said not before), gone (nothing waits).
 * A seat is in its line's heap while it has an awake lane and is not part of an ask under way.
 * States of a line: free, or held until a time (a limit that everybody shares said not before).
 */
import { createBinaryHeap, type BinaryHeap } from "./binary-heap.ts";
import { laneKey, type LedgerLane } from "./ledger-lane.ts";
import type { LaneRefusal } from "./ledger-reply.ts";
import type { PermitAsk } from "./permit.ts";
import type { Line, Seat, WaitingCall, WaitingLane } from "./waiting-call.ts";
import {
  createLines,
  dropExpiries,
  lineOf,
  linesUnder,
  nextExpiryMs,
  rememberTag,
} from "./waiting-lines.ts";

const LANES_PER_SEAT = 8;

/** A part of a batch: ask for `count` permits of a lane. */
export interface LaneTake {
  readonly waiting: WaitingLane;
  readonly count: number;
}

export interface PermitQueue {
  /** Calls that wait. */
  readonly size: number;
  add(call: Pick<WaitingCall, "ask" | "expiresAtMs" | "outcome">): WaitingCall;
  /** It is served, refused or cancelled: it leaves at once. */
  remove(call: WaitingCall): void;
  /** The best of what may be asked now, at most `maxTenants` tenants and about `maxAsks` permits. */
  take(limits: {
    readonly nowMs: number;
    readonly maxTenants: number;
    readonly maxAsks: number;
  }): readonly LaneTake[];
  /** The ask is over: what is left may be asked again. */
  giveBack(takes: readonly LaneTake[]): void;
  setTag(waiting: WaitingLane, tag: number): void;
  sleep(waiting: WaitingLane, untilMs: number): void;
  /** Hold what the refusal speaks for. */
  hold(
    waiting: WaitingLane,
    refusal: LaneRefusal,
    times: { readonly heldUntilMs: number; readonly toldUntilMs: number },
  ): void;
  /** What would refuse such a call anyhow, since its line is held for longer than it may wait. */
  foretell(ask: PermitAsk, nowMs: number): LaneRefusal | undefined;
  /** Calls that would not be served before `untilMs` and may not wait so long. */
  expiring(waiting: WaitingLane, refusal: LaneRefusal, untilMs: number): readonly WaitingCall[];
  /** Calls whose time has run out, with what stopped their line last. */
  expired(
    nowMs: number,
  ): readonly { readonly call: WaitingCall; readonly refusal: LaneRefusal | undefined }[];
  /** When something changes by itself: a lane wakes, a hold ends, a call expires. Undefined: never. */
  nextChangeMs(nowMs: number): number | undefined;
  hasAskable(nowMs: number): boolean;
  all(): readonly WaitingCall[];
}

interface Store {
  readonly lines: readonly Line[];
  readonly seats: Map<string, Seat>;
  readonly sleepers: BinaryHeap<WaitingLane>;
  size: number;
  order: number;
}

export function createPermitQueue(): PermitQueue {
  const store: Store = {
    lines: createLines(),
    seats: new Map(),
    sleepers: createBinaryHeap((a, b) => a.asleepUntilMs < b.asleepUntilMs),
    size: 0,
    order: 0,
  };
  const { lines } = store;

  return {
    get size() {
      return store.size;
    },
    add: (call) => add(store, call),
    remove: (call) => {
      if (call.isGone) return;
      call.isGone = true;
      call.lane.calls.delete(call);
      store.size -= 1;
      forgetIfEmpty(store, call.lane);
    },
    take: (limits) => take(store, limits),
    giveBack: (takes) => {
      for (const { waiting } of takes) waiting.seat.isAsking = false;
      for (const { waiting } of takes) {
        forgetIfEmpty(store, waiting);
        enqueue(store, waiting.seat);
      }
    },
    setTag: (waiting, tag) => {
      waiting.seat.tag = tag;
      rememberTag(waiting.seat.line, waiting.lane.attribution.tenantId, tag);
    },
    sleep: (waiting, untilMs) => {
      if (waiting.calls.size === 0) return;
      waiting.asleepUntilMs = untilMs;
      waiting.seat.awake.delete(waiting);
      store.sleepers.push(waiting);
    },
    hold: (waiting, refusal, times) => {
      for (const line of linesUnder(lines, waiting, refusal)) {
        Object.assign(line, times, { lastRefusal: refusal });
      }
    },
    foretell: (ask, nowMs) => foretell(store, ask, nowMs),
    expiring: (waiting, refusal, untilMs) =>
      refusal.scope === "lane"
        ? [...waiting.calls].filter((call) => call.expiresAtMs < untilMs)
        : linesUnder(lines, waiting, refusal).flatMap((line) => dropExpiries(line, untilMs)),
    expired: (nowMs) =>
      lines.flatMap((line) =>
        dropExpiries(line, nowMs).map((call) => ({ call, refusal: line.lastRefusal })),
      ),
    nextChangeMs: (nowMs) => nextChangeMs(store, nowMs),
    hasAskable: (nowMs) => {
      wakeSleepers(store, nowMs);
      return lines.some((line) => hasAskable(store, line, nowMs));
    },
    all: () => {
      const lanes = [...store.seats.values()].flatMap((seat) => Array.from(seat.lanes.values()));
      return lanes.flatMap((lane) => Array.from(lane.calls));
    },
  };
}

function add(
  store: Store,
  { ask, expiresAtMs, outcome }: Pick<WaitingCall, "ask" | "expiresAtMs" | "outcome">,
): WaitingCall {
  const { attribution, operation, upstream, attempt } = ask;
  const waiting = findLane(store, { attribution, operation, upstream, attempt });
  const call: WaitingCall = { ask, lane: waiting, expiresAtMs, outcome, isGone: false };
  waiting.calls.add(call);
  waiting.seat.line.expiries.push(call);
  store.size += 1;
  enqueue(store, waiting.seat);
  return call;
}

function findLane(store: Store, lane: LedgerLane): WaitingLane {
  const seat = findSeat(store, lane);
  const key = laneKey(lane);
  const known = seat.lanes.get(key);
  if (known !== undefined) return known;
  const waiting: WaitingLane = { lane, key, seat, calls: new Set(), asleepUntilMs: 0 };
  seat.lanes.set(key, waiting);
  seat.awake.add(waiting);
  return waiting;
}

function findSeat(store: Store, lane: LedgerLane): Seat {
  const tenant = lane.attribution.tenantId;
  const key = `${lane.upstream}\u001F${lane.attribution.class}\u001F${tenant}`;
  const known = store.seats.get(key);
  if (known !== undefined) return known;
  const line = lineOf(store.lines, lane);
  const seat: Seat = {
    line,
    key,
    lanes: new Map(),
    awake: new Set(),
    tag: Math.max(line.time, line.tags.get(tenant) ?? 0),
    order: 0,
    isQueued: false,
    isAsking: false,
  };
  store.seats.set(key, seat);
  return seat;
}

function enqueue(store: Store, seat: Seat): void {
  if (seat.isQueued || seat.isAsking || seat.awake.size === 0) return;
  seat.isQueued = true;
  seat.order = store.order++;
  seat.line.seats.push(seat);
}

function forgetIfEmpty(store: Store, waiting: WaitingLane): void {
  const { seat } = waiting;
  if (seat.isAsking || waiting.calls.size > 0 || seat.lanes.get(waiting.key) !== waiting) return;
  seat.lanes.delete(waiting.key);
  seat.awake.delete(waiting);
  forgetSeatIfEmpty(store, seat);
}

function forgetSeatIfEmpty(store: Store, seat: Seat): void {
  if (seat.lanes.size === 0 && !seat.isQueued) store.seats.delete(seat.key);
}

function take(
  store: Store,
  limits: { readonly nowMs: number; readonly maxTenants: number; readonly maxAsks: number },
): readonly LaneTake[] {
  wakeSleepers(store, limits.nowMs);
  const chosen: Seat[] = [];
  for (const line of store.lines) {
    while (chosen.length < limits.maxTenants && hasAskable(store, line, limits.nowMs)) {
      const seat = line.seats.pop();
      if (seat === undefined) break;
      seat.isQueued = false;
      seat.isAsking = true;
      line.time = Math.max(line.time, seat.tag);
      chosen.push(seat);
    }
  }
  const perSeat = Math.max(1, Math.ceil(limits.maxAsks / Math.max(1, chosen.length)));
  return chosen.flatMap((seat) => takeFromSeat(seat, perSeat));
}

function takeFromSeat(seat: Seat, allowance: number): LaneTake[] {
  const takes: LaneTake[] = [];
  let left = allowance;
  for (const waiting of [...seat.awake].slice(0, LANES_PER_SEAT)) {
    if (left <= 0) break;
    const count = Math.min(waiting.calls.size, left);
    left -= count;
    takes.push({ waiting, count });
    // The next ask begins with the lanes that this one did not reach.
    seat.awake.delete(waiting);
    seat.awake.add(waiting);
  }
  return takes;
}

/** Whether the line's best seat may be asked for; seats that nothing waits on any more are dropped on the way. */
function hasAskable(store: Store, line: Line, nowMs: number): boolean {
  if (line.heldUntilMs > nowMs) return false;
  for (let seat = line.seats.peek(); seat !== undefined; seat = line.seats.peek()) {
    if (seat.awake.size > 0) return true;
    line.seats.pop();
    seat.isQueued = false;
    forgetSeatIfEmpty(store, seat);
  }
  return false;
}

function wakeSleepers(store: Store, nowMs: number): void {
  const { sleepers } = store;
  for (let lane = sleepers.peek(); lane !== undefined; lane = sleepers.peek()) {
    if (lane.calls.size > 0 && lane.asleepUntilMs > nowMs) return;
    sleepers.pop();
    if (lane.calls.size === 0) continue;
    lane.asleepUntilMs = 0;
    lane.seat.awake.add(lane);
    enqueue(store, lane.seat);
  }
}

function foretell(store: Store, ask: PermitAsk, nowMs: number): LaneRefusal | undefined {
  const line = lineOf(store.lines, ask);
  const refusal = line.lastRefusal;
  if (refusal === undefined || line.heldUntilMs <= nowMs) return undefined;
  const waitMs = line.toldUntilMs - nowMs;
  if (waitMs <= ask.maxWaitMs) return undefined;
  return { ...refusal, waitMs: Number.isFinite(waitMs) ? waitMs : undefined };
}

function nextChangeMs(store: Store, nowMs: number): number | undefined {
  const times: number[] = [];
  const sleeper = store.sleepers.peek();
  if (sleeper !== undefined) times.push(sleeper.asleepUntilMs);
  for (const line of store.lines) {
    if (line.heldUntilMs > nowMs && line.seats.size > 0) times.push(line.heldUntilMs);
    const expiry = nextExpiryMs(line);
    if (expiry !== undefined) times.push(expiry);
  }
  return times.length === 0 ? undefined : Math.min(...times);
}
