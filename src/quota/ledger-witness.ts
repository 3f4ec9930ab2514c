/**
 * What this process remembers of the ledger, so that the fleet can tell when the ledger has forgotten.
 *
 * States: blank (no epoch known) → follows an epoch → blank again on `adopt` of the next one. Beside it, the
 * last pair of clocks (the ledger's, and ours before and after the ask) and our own recent grants.
 * I1: grants are kept until they no longer count in any window; a reply that the clocks contradict grants nothing.
 */
import type { LedgerHeader, LedgerTerms } from "./ledger-reply.ts";
import type { LedgerLane } from "./ledger-lane.ts";

const PRUNE_EVERY = 1_024;

interface ClockPair {
  readonly ledgerMs: number;
  readonly askedAtMs: number;
  readonly answeredAtMs: number;
}

/** Permits that this process was granted and that may still count. */
export interface RememberedGrant {
  readonly lane: LedgerLane;
  readonly count: number;
  /** Our monotonic time of the answer: never earlier than the ledger's entry. */
  readonly answeredAtMs: number;
}

/** One exchange with the ledger, in this process' monotonic time. */
export interface Exchange {
  readonly header: LedgerHeader;
  readonly askedAtMs: number;
  readonly answeredAtMs: number;
}

/** What the last believed reply said. */
export interface KnownEpoch {
  readonly epochNumber: number;
  readonly epoch: string;
  /** The highest seen in this epoch. */
  readonly sequence: number;
  /** The ledger's time then. */
  readonly ledgerMs: number;
  readonly roster: readonly string[];
  /** Whether this process has looked at the ledger without a gap since then. */
  readonly isWitness: boolean;
}

const NOTHING: KnownEpoch = {
  epochNumber: 0,
  epoch: "",
  sequence: 0,
  ledgerMs: 0,
  roster: [],
  isWitness: false,
};

export interface LedgerWitness {
  readonly known: KnownEpoch;
  /** Before each attempt, whether or not it will be answered. */
  attempt(nowMs: number): void;
  /** Compare clocks; false: the ledger's clock stepped between this reply and the last one. */
  compareClocks(exchange: Exchange): boolean;
  /** Follow the epoch of a reply that was accepted. */
  follow(header: LedgerHeader, roster: readonly string[]): void;
  /** Forget the epoch that is gone; the grants stay until they no longer count. */
  adopt(header: LedgerHeader): void;
  learnTerms(terms: LedgerTerms): void;
  keep(grant: RememberedGrant): void;
  /** Whether any own grant may still count: then this process stays in touch with the ledger. */
  holdsGrants(nowMs: number): boolean;
  /** Own grants that may still count at `nowMs`, oldest first. */
  recentGrants(nowMs: number): readonly RememberedGrant[];
}

/** A memory that knows nothing yet. */
export function createLedgerWitness(): LedgerWitness {
  let known = NOTHING;
  let terms: LedgerTerms | undefined;
  let clocks: ClockPair | undefined;
  let attemptedAtMs: number | undefined;
  let grants: RememberedGrant[] = [];

  return {
    get known() {
      return known;
    },
    attempt: (nowMs) => {
      // A silence as long as a newcomer waits: it may have come and been granted something meanwhile.
      const longestMs = terms?.settleMs ?? 0;
      const isGap = attemptedAtMs !== undefined && nowMs - attemptedAtMs > longestMs;
      if (isGap) known = { ...known, isWitness: false };
      attemptedAtMs = nowMs;
    },
    compareClocks: ({ header, askedAtMs, answeredAtMs }) => {
      const earlier = clocks;
      clocks = { ledgerMs: header.nowMs, askedAtMs, answeredAtMs };
      if (earlier === undefined || terms === undefined) return true;
      return agree(earlier, clocks, terms.clockToleranceMs);
    },
    follow: ({ epochNumber, epoch, sequence, nowMs: ledgerMs }, roster) => {
      const highest = epoch === known.epoch ? Math.max(known.sequence, sequence) : sequence;
      known = { epochNumber, epoch, sequence: highest, ledgerMs, roster, isWitness: true };
    },
    adopt: ({ epochNumber, epoch }) => {
      if (epoch !== known.epoch) known = { ...NOTHING, epochNumber, epoch };
    },
    learnTerms: (learnt) => {
      terms = learnt;
    },
    keep: (grant) => {
      grants.push(grant);
      if (grants.length % PRUNE_EVERY === 0) {
        grants = grants.filter((one) => isCounting(one, grant.answeredAtMs, terms));
      }
    },
    holdsGrants: (nowMs) => {
      const last = grants.at(-1);
      return last !== undefined && isCounting(last, nowMs, terms);
    },
    recentGrants: (nowMs) => {
      grants = grants.filter((one) => isCounting(one, nowMs, terms));
      return grants;
    },
  };
}

/** Whether the ledger's time moved between two replies as ours allows. */
function agree(earlier: ClockPair, later: ClockPair, toleranceMs: number): boolean {
  const moved = later.ledgerMs - earlier.ledgerMs;
  const longest = later.answeredAtMs - earlier.askedAtMs;
  const shortest = Math.max(0, later.askedAtMs - earlier.answeredAtMs);
  const allowed = toleranceMs + longest / 1_000;
  return moved >= shortest - allowed && moved <= longest + allowed;
}

function isCounting(
  grant: RememberedGrant,
  nowMs: number,
  terms: LedgerTerms | undefined,
): boolean {
  // A little longer than the span: clocks may drift by a thousandth.
  return terms === undefined || nowMs - grant.answeredAtMs <= terms.spanMs * 1.002;
}
