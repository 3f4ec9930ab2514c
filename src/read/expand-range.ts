import type { UnknownReason } from "../core/calendar-reads.ts";
import type { GoogleEvent } from "../core/google-event.ts";
import { momentOf, spanOf } from "./event-times.ts";
import { RuleUnreadable } from "./parse-rule.ts";
import { occurrencesOf, readSeries, touches, type Series, type Window } from "./series.ts";
import type { Turns } from "./turns.ts";
import { BudgetSpent, createWorkBudget } from "./work-budget.ts";
import type { ZoneClock } from "./zone-clock.ts";

/** What one series may cost, and all of a calendar's together. Measured: a step is 0.1 to 0.3 µs. */
const SERIES_LIMITS = { maxSteps: 30_000, maxMs: 20 };
const CALENDAR_STEPS = 3_000_000;
/** More than this is not listed, nor merged: sorting it would hold up the event loop. */
const MAX_TAKINGS = 30_000;
const SMALL = 2_000;
/** Of the events behind a reason so many are named. */
const NAMED = 10;

/** Something that takes place in the window. */
export interface Taking {
  readonly event: GoogleEvent;
  readonly startMs: number;
  readonly endMs: number;
  readonly isAllDay: boolean;
  /** The series that `event` is the master of; undefined for single events and exceptions. */
  readonly series: Series | undefined;
}

export interface Expansion {
  readonly takings: readonly Taking[];
  readonly unknown: readonly {
    readonly reason: UnknownReason;
    readonly eventIds: readonly string[];
  }[];
  /** True when the machine was too slow: another time the answer may be whole. */
  readonly isTransient: boolean;
}

/**
 * What takes place in a window. `events` are all single events and masters that may touch it, and the
 * exceptions that are in it or were moved out of it. Whatever cannot be read or costs too much is named
 * as unknown; nothing is left out in silence (I11).
 */
export async function expandRange(
  events: readonly GoogleEvent[],
  about: {
    readonly window: Window;
    readonly clock: ZoneClock;
    /** Events that the question is not about: free ones. */
    readonly isWanted: (event: GoogleEvent) => boolean;
  },
  turns: Turns,
): Promise<Expansion> {
  const takings: Taking[] = [];
  const unknown = new Map<UnknownReason, string[]>();
  const replaced = findReplaced(events, about.clock);
  let stepsLeft = CALENDAR_STEPS;
  let isTransient = false;
  for (const event of events) {
    if (!about.isWanted(event)) continue;
    if (turns.isOver()) await turns.next();
    const budget = createWorkBudget(
      { ...SERIES_LIMITS, maxSteps: Math.min(SERIES_LIMITS.maxSteps, stepsLeft) },
      workedMs,
    );
    try {
      const found = takingsOf(event, { ...about, replaced, budget });
      if (takings.length + found.length > MAX_TAKINGS) throw new BudgetSpent("steps");
      takings.push(...found);
    } catch (error) {
      const reason = reasonOf(error);
      unknown.set(reason, [...(unknown.get(reason) ?? []), event.id].slice(0, NAMED));
      isTransient ||= error instanceof BudgetSpent && error.by === "time";
    }
    stepsLeft -= budget.spent();
  }
  // Whoever keeps this sorts it first, which takes a turn of its own.
  if (takings.length > SMALL) await turns.next();
  return {
    takings,
    unknown: [...unknown].map(([reason, eventIds]) => ({ reason, eventIds })),
    isTransient,
  };
}

function workedMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

function reasonOf(error: unknown): UnknownReason {
  if (error instanceof BudgetSpent) return "too-much-to-expand";
  if (error instanceof RuleUnreadable) return "unreadable-event";
  throw error;
}

function takingsOf(
  event: GoogleEvent,
  about: {
    readonly window: Window;
    readonly clock: ZoneClock;
    readonly replaced: ReadonlyMap<string, ReadonlySet<number>>;
    readonly budget: ReturnType<typeof createWorkBudget>;
  },
): readonly Taking[] {
  const { window, clock, replaced, budget } = about;
  budget.spend(1);
  if (!isMaster(event)) {
    const span = spanOf(event, clock);
    if (span === undefined) throw new RuleUnreadable("its times");
    return touches(span, window) ? [{ event, ...span, series: undefined }] : [];
  }
  const series = readSeries(event, clock);
  const gone = replaced.get(event.id);
  return occurrencesOf(series, window, budget)
    .filter(({ startMs }) => gone?.has(startMs) !== true)
    .map(({ startMs, endMs }) => ({ event, startMs, endMs, isAllDay: series.isAllDay, series }));
}

function isMaster(event: GoogleEvent): boolean {
  return Array.isArray(event.recurrence) && event.recurrence.length > 0 && !isException(event);
}

function isException(event: GoogleEvent): boolean {
  return typeof event.recurringEventId === "string" && event.recurringEventId !== "";
}

/** By master: the starts of the occurrences that an exception, cancelled or moved, stands for. */
function findReplaced(
  events: readonly GoogleEvent[],
  clock: ZoneClock,
): ReadonlyMap<string, ReadonlySet<number>> {
  const replaced = new Map<string, Set<number>>();
  for (const event of events) {
    if (!isException(event)) continue;
    const startMs = momentOf(event.originalStartTime, clock);
    if (startMs === undefined) continue;
    const masterId = event.recurringEventId ?? "";
    const starts = replaced.get(masterId) ?? new Set();
    replaced.set(masterId, starts.add(startMs));
  }
  return replaced;
}
