import type { CalendarState } from "./calendar-store.ts";
import type { EpochMs } from "./clock.ts";

/** An unserved request older than this makes a calendar stale. */
export const FRESHNESS_TARGET_MS = 120_000;

/** The facts of a row that its state follows from. */
export interface StateFacts {
  readonly lostReason: string | undefined;
  readonly pausedReason: string | undefined;
  readonly slowedReason: string | undefined;
  readonly generation: number;
  /** When the oldest request that no publish has served yet was made. */
  readonly unservedSince: EpochMs | undefined;
  readonly currentAsOf: EpochMs | undefined;
  /** By when the next poll was to prove the copy current, spread and target included. */
  readonly freshUntil: EpochMs | undefined;
}

/**
 * The one place that decides what a reader is told. Order matters: what an operator or Google has
 * ended outranks what a clock says; a calendar that keeps failing says so even before its first sync.
 */
export function calendarState(facts: StateFacts, now: EpochMs): CalendarState {
  if (facts.lostReason !== undefined) return "lost";
  if (facts.pausedReason !== undefined) return "paused";
  if (facts.slowedReason !== undefined) return "slowed";
  if (facts.generation === 0) return "never";
  const isUnserved =
    facts.unservedSince !== undefined && now - facts.unservedSince > FRESHNESS_TARGET_MS;
  const isOverdue = facts.freshUntil === undefined || now > facts.freshUntil;
  return isUnserved || isOverdue ? "stale" : "fresh";
}
