import type { BinaryHeap } from "./binary-heap.ts";
import type { LedgerLane } from "./ledger-lane.ts";
import type { LaneRefusal } from "./ledger-reply.ts";
import type { Permit, PermitAsk, Upstream } from "./permit.ts";

/** Where a waiting call hears how it ended. */
export interface CallOutcome {
  readonly serve: (permit: Permit) => void;
  readonly refuse: (error: Error) => void;
}

/** One call that waits for a permit. */
export interface WaitingCall {
  readonly ask: PermitAsk;
  readonly lane: WaitingLane;
  /** Monotonic time after which it is refused. */
  readonly expiresAtMs: number;
  readonly outcome: CallOutcome;
  isGone: boolean;
}

/** Calls that every limit treats alike, first come first served. */
export interface WaitingLane {
  readonly lane: LedgerLane;
  readonly key: string;
  readonly seat: Seat;
  readonly calls: Set<WaitingCall>;
  asleepUntilMs: number;
}

/** A tenant in a line. */
export interface Seat {
  readonly line: Line;
  readonly key: string;
  readonly lanes: Map<string, WaitingLane>;
  readonly awake: Set<WaitingLane>;
  tag: number;
  order: number;
  isQueued: boolean;
  isAsking: boolean;
}

/** One class at one upstream. */
export interface Line {
  readonly upstream: Upstream;
  readonly rank: number;
  readonly seats: BinaryHeap<Seat>;
  readonly expiries: BinaryHeap<WaitingCall>;
  /** Virtual times last told by the ledger: a tenant that left must not come back as one that used nothing. */
  readonly tags: Map<string, number>;
  time: number;
  heldUntilMs: number;
  /** The "not before" itself, which may be later than the line is held: it is believed for so long only. */
  toldUntilMs: number;
  lastRefusal: LaneRefusal | undefined;
}
