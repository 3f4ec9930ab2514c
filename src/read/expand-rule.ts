import { DAY_MS, dateOfDay, dayOfDate, modulo, weekdayOfDay } from "./civil-days.ts";
import type { Rule } from "./parse-rule.ts";
import {
  daysOfMonth,
  daysOfWeek,
  daysOfYear,
  isDayOf,
  weekStartOf,
  type RuleStart,
} from "./rule-days.ts";
import type { WorkBudget } from "./work-budget.ts";

const UNIT_MS = { HOURLY: 3_600_000, MINUTELY: 60_000, SECONDLY: 1_000 } as const;

/** Both ends belong to it; wall time. */
export interface WallWindow {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Gathers occurrences in order; false from `add` ends the expansion. */
interface Gathering {
  add(wallMs: number): boolean;
  /** Count occurrences without looking at them. */
  skip(occurrences: number): void;
}

/** One period after the other; what a rule repeats by. */
interface Periods {
  /** The earliest wall time that period `k` can hold: past the window, the expansion is over. */
  earliestMs(k: number): number;
  days(k: number): readonly number[];
  /** The last period sure to lie before a wall time, at least 0. */
  before(wallMs: number): number;
}

/**
 * The occurrences of a rule in a window of wall time, ascending, from its start on: RFC 5545, 3.3.10.
 * Rules run on the wall clock; what its readings mean is the caller's business. A rule without COUNT
 * costs what its window holds, however long ago it began. Throws `BudgetSpent`.
 */
export function expandRule(
  rule: Rule,
  startWallMs: number,
  { window, budget }: { readonly window: WallWindow; readonly budget: WorkBudget },
): readonly number[] {
  const found: number[] = [];
  let counted = 0;
  const gathering: Gathering = {
    add(wallMs) {
      if (wallMs < startWallMs) return true;
      if (wallMs > window.toMs) return false;
      counted += 1;
      if (rule.count !== undefined && counted > rule.count) return false;
      if (wallMs >= window.fromMs) found.push(wallMs);
      return true;
    },
    skip(occurrences) {
      counted += occurrences;
    },
  };
  const job = { rule, startWallMs, window, budget };
  if (
    rule.frequency === "HOURLY" ||
    rule.frequency === "MINUTELY" ||
    rule.frequency === "SECONDLY"
  ) {
    expandWithinDays(job, UNIT_MS[rule.frequency], gathering);
  } else {
    expandDays(job, gathering);
  }
  return found;
}

interface Job {
  readonly rule: Rule;
  readonly startWallMs: number;
  readonly window: WallWindow;
  readonly budget: WorkBudget;
}

function expandDays(job: Job, gathering: Gathering): void {
  const { rule, startWallMs, window, budget } = job;
  const periods = periodsOf(rule, startWallMs);
  const times = timesOf(rule, modulo(startWallMs, DAY_MS));
  let k = firstPeriod(job, { periods, gathering });
  for (; periods.earliestMs(k) <= window.toMs; k++) {
    const days = periods.days(k);
    budget.spend(1 + days.length * times.length);
    if (rule.positions === undefined) {
      for (const day of days) {
        for (const time of times) if (!gathering.add(day * DAY_MS + time)) return;
      }
    } else {
      const whole = days.flatMap((day) => times.map((time) => day * DAY_MS + time));
      for (const wallMs of atPositions(whole, rule.positions)) {
        if (!gathering.add(wallMs)) return;
      }
    }
  }
}

/** Where to begin: with a COUNT at the start, unless what lies between can be counted without looking. */
function firstPeriod(
  { rule, startWallMs, window }: Job,
  { periods, gathering }: { readonly periods: Periods; readonly gathering: Gathering },
): number {
  const k = periods.before(window.fromMs);
  if (rule.count === undefined) return k;
  if (k < 2 || !isRegular(rule)) return 0;
  const startDay = Math.floor(startWallMs / DAY_MS);
  const inFirst = periods.days(0).filter((day) => day >= startDay).length;
  gathering.skip(inFirst + (k - 1) * periods.days(1).length);
  return k;
}

/** Whether every period but the first holds equally many occurrences. */
function isRegular(rule: Rule): boolean {
  const narrowing = [rule.months, rule.monthDays, rule.positions];
  const times = [rule.hours, rule.minutes, rule.seconds];
  if ([...narrowing, ...times].some((part) => part !== undefined)) return false;
  return rule.frequency === "WEEKLY" || (rule.frequency === "DAILY" && rule.weekdays === undefined);
}

function periodsOf(rule: Rule, startWallMs: number): Periods {
  const startDay = Math.floor(startWallMs / DAY_MS);
  const date = dateOfDay(startDay);
  const start: RuleStart = { date, weekday: weekdayOfDay(startDay) };
  const { interval } = rule;
  if (rule.frequency === "YEARLY") {
    const yearOf = (k: number): number => date.year + k * interval;
    return {
      // Week 1 may begin in the last days of the year before.
      earliestMs: (k) => (dayOfDate(yearOf(k), 1, 1) - 7) * DAY_MS,
      days: (k) => daysOfYear(rule, start, yearOf(k)),
      before: (ms) => {
        const { year } = dateOfDay(Math.floor(ms / DAY_MS));
        return Math.max(0, Math.floor((year - 1 - date.year) / interval));
      },
    };
  }
  if (rule.frequency === "MONTHLY") return monthsOf(rule, start);
  const firstDay = rule.frequency === "WEEKLY" ? weekStartOf(startDay, rule.weekStart) : startDay;
  const step = rule.frequency === "WEEKLY" ? 7 * interval : interval;
  return {
    earliestMs: (k) => (firstDay + k * step) * DAY_MS,
    days: (k) => {
      const day = firstDay + k * step;
      if (rule.frequency === "WEEKLY") return daysOfWeek(rule, start, day);
      return isDayOf(rule, day) ? [day] : [];
    },
    before: (ms) => Math.max(0, Math.floor((Math.floor(ms / DAY_MS) - firstDay) / step)),
  };
}

function monthsOf(rule: Rule, start: RuleStart): Periods {
  const { interval } = rule;
  const first = start.date.year * 12 + start.date.month - 1;
  const monthOf = (k: number): { year: number; month: number } => {
    const index = first + k * interval;
    return { year: Math.floor(index / 12), month: modulo(index, 12) + 1 };
  };
  return {
    earliestMs: (k) => dayOfDate(monthOf(k).year, monthOf(k).month, 1) * DAY_MS,
    days: (k) => {
      const at = monthOf(k);
      const isIn = rule.months?.includes(at.month) ?? true;
      return isIn ? daysOfMonth(rule, start, at) : [];
    },
    before: (ms) => {
      const { year, month } = dateOfDay(Math.floor(ms / DAY_MS));
      return Math.max(0, Math.floor((year * 12 + month - 1 - first) / interval));
    },
  };
}

/** Times of day, ascending; parts that the rule leaves out are the start's. */
function timesOf(rule: Rule, startTimeMs: number): readonly number[] {
  const hours = rule.hours ?? [Math.floor(startTimeMs / 3_600_000)];
  return hours.flatMap((hour) =>
    timesWithinHour(rule, startTimeMs).map((time) => hour * 3_600_000 + time),
  );
}

function timesWithinHour(rule: Rule, startTimeMs: number): readonly number[] {
  const minutes = rule.minutes ?? [Math.floor(startTimeMs / 60_000) % 60];
  return minutes.flatMap((minute) =>
    timesWithinMinute(rule, startTimeMs).map((time) => minute * 60_000 + time),
  );
}

function timesWithinMinute(rule: Rule, startTimeMs: number): readonly number[] {
  const seconds = rule.seconds ?? [Math.floor(startTimeMs / 1_000) % 60];
  return seconds.map((second) => second * 1_000);
}

function atPositions(set: readonly number[], positions: readonly number[]): readonly number[] {
  const picked = new Set<number>();
  for (const position of positions) {
    const wallMs = set.at(position > 0 ? position - 1 : position);
    if (wallMs !== undefined) picked.add(wallMs);
  }
  return [...picked].toSorted((left, right) => left - right);
}

function expandWithinDays(job: Job, unitMs: number, gathering: Gathering): void {
  const { rule, startWallMs, window, budget } = job;
  const base = startWallMs - modulo(startWallMs, unitMs);
  const stepMs = rule.interval * unitMs;
  const periodFrom = (wallMs: number): number => Math.max(0, Math.ceil((wallMs - base) / stepMs));
  const offsets = offsetsWithin(rule, modulo(startWallMs, DAY_MS));
  // From the period that holds the window's beginning, which may be the one before.
  let k = rule.count === undefined ? Math.max(0, periodFrom(window.fromMs) - 1) : 0;
  let knownDay = Number.NaN;
  let isKnownDayIn = false;
  for (;;) {
    const periodMs = base + k * stepMs;
    if (periodMs > window.toMs) return;
    budget.spend(1 + offsets.length);
    const day = Math.floor(periodMs / DAY_MS);
    if (day !== knownDay) {
      knownDay = day;
      isKnownDayIn = isDayOf(rule, day);
    }
    const nextMs = isKnownDayIn ? passedOver(rule, periodMs) : (day + 1) * DAY_MS;
    if (nextMs !== undefined) {
      k = Math.max(k + 1, periodFrom(nextMs));
      continue;
    }
    const set = offsets.map((offset) => periodMs + offset);
    for (const wallMs of rule.positions === undefined ? set : atPositions(set, rule.positions)) {
      if (!gathering.add(wallMs)) return;
    }
    k += 1;
  }
}

/** Where to go on when the period's hour, minute or second is not in the rule; undefined when they are. */
function passedOver(rule: Rule, periodMs: number): number | undefined {
  const hour = Math.floor(periodMs / 3_600_000);
  if (rule.hours?.includes(modulo(hour, 24)) === false) return (hour + 1) * 3_600_000;
  if (rule.frequency === "HOURLY") return undefined;
  const minute = Math.floor(periodMs / 60_000);
  if (rule.minutes?.includes(modulo(minute, 60)) === false) return (minute + 1) * 60_000;
  if (rule.frequency === "MINUTELY") return undefined;
  const second = Math.floor(periodMs / 1_000);
  return rule.seconds?.includes(modulo(second, 60)) === false ? (second + 1) * 1_000 : undefined;
}

function offsetsWithin(rule: Rule, startTimeMs: number): readonly number[] {
  if (rule.frequency === "HOURLY") return timesWithinHour(rule, startTimeMs);
  return rule.frequency === "MINUTELY" ? timesWithinMinute(rule, startTimeMs) : [0];
}
