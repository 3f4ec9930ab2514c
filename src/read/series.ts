import type { GoogleEvent } from "../core/google-event.ts";
import { DAY_MS } from "./civil-days.ts";
import { readDateList, type ListedDate } from "./date-list.ts";
import { clockOf, isDate, spanOf } from "./event-times.ts";
import { expandRule } from "./expand-rule.ts";
import { parseRule, RuleUnreadable, type Rule } from "./parse-rule.ts";
import type { WorkBudget } from "./work-budget.ts";
import type { ZoneClock } from "./zone-clock.ts";

/** A recurring event, read. */
export interface Series {
  readonly startMs: number;
  readonly isAllDay: boolean;
  /** Its rules run on this clock: its own zone's; of all-day events the calendar's. */
  readonly clock: ZoneClock;
  readonly startWallMs: number;
  /** Exact for timed events (RFC 5545, 3.8.5.3); whole days on the wall clock for all-day ones. */
  readonly durationMs: number;
  readonly rules: readonly Rule[];
  readonly excludedRules: readonly Rule[];
  readonly dates: readonly ListedDate[];
  readonly excludedDates: readonly ListedDate[];
}

/** One occurrence of a series, before exceptions. */
export interface Occurrence {
  readonly startMs: number;
  readonly endMs: number;
}

/** Half-open, in moments. */
export interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

/** No clock is turned by more than this. */
const MARGIN_MS = DAY_MS;

/** Read a master. Throws `RuleUnreadable` for whatever in it cannot be followed. */
export function readSeries(master: GoogleEvent, calendarClock: ZoneClock): Series {
  const isAllDay = isDate(master.start);
  const clock = isAllDay ? calendarClock : clockOf(master.start, calendarClock);
  const span = spanOf(master, calendarClock);
  if (clock === undefined || span === undefined) throw new RuleUnreadable("its times or its zone");
  const startWallMs = wallOf(span.startMs, clock, isAllDay);
  const endWallMs = wallOf(span.endMs, clock, isAllDay);
  const lines = (master.recurrence ?? []).map((line) => splitLine(line));
  const rulesOf = (name: string): Rule[] =>
    lines.filter((line) => line.name === name).map(({ value }) => withoutTimes(value, isAllDay));
  const datesOf = (name: string): ListedDate[] =>
    lines.filter((line) => line.name === name).flatMap(({ text }) => readDateList(text, clock));
  return {
    startMs: span.startMs,
    isAllDay,
    clock,
    startWallMs,
    durationMs: isAllDay ? endWallMs - startWallMs : span.endMs - span.startMs,
    rules: rulesOf("RRULE"),
    excludedRules: rulesOf("EXRULE"),
    dates: datesOf("RDATE"),
    excludedDates: datesOf("EXDATE"),
  };
}

/**
 * The occurrences of a series that touch a window, ascending. The event's own start is one of them
 * even where its rules do not name it: RFC 5545 leaves that open, and busy is the safe answer.
 */
export function occurrencesOf(
  series: Series,
  window: Window,
  budget: WorkBudget,
): readonly Occurrence[] {
  const found = new Map<number, Occurrence>();
  const add = (startMs: number, durationMs = series.durationMs): void => {
    const occurrence = { startMs, endMs: endOf(series, startMs, durationMs) };
    if (touches(occurrence, window)) found.set(startMs, occurrence);
  };
  add(series.startMs);
  for (const rule of series.rules) {
    for (const startMs of startsOf(rule, series, { window, budget })) add(startMs);
  }
  budget.spend(series.dates.length + series.excludedDates.length);
  for (const date of series.dates) add(startOf(date, series), date.durationMs);
  for (const date of series.excludedDates) found.delete(startOf(date, series));
  for (const rule of found.size === 0 ? [] : series.excludedRules) {
    for (const startMs of startsOf(rule, series, { window, budget })) found.delete(startMs);
  }
  return [...found.values()].toSorted((left, right) => left.startMs - right.startMs);
}

/** Half-open; what takes no time is where it begins. */
export function touches(occurrence: Occurrence, window: Window): boolean {
  const { startMs, endMs } = occurrence;
  if (startMs >= window.toMs) return false;
  return endMs > window.fromMs || (endMs === startMs && startMs === window.fromMs);
}

const NAMES = new Set(["RRULE", "EXRULE", "RDATE", "EXDATE"]);

function splitLine(line: unknown): { name: string; value: string; text: string } {
  const text = typeof line === "string" ? line.trim() : "";
  const colon = text.indexOf(":");
  const name = (/^[A-Za-z]+/.exec(text)?.[0] ?? "").toUpperCase();
  if (colon < 0 || !NAMES.has(name)) {
    throw new RuleUnreadable("a recurrence line that is none of RRULE, RDATE, EXDATE, EXRULE");
  }
  return { name, value: text.slice(colon + 1), text };
}

/** Parts that are times mean nothing to an event that has only dates (RFC 5545, 3.3.10). */
function withoutTimes(text: string, isAllDay: boolean): Rule {
  const rule = parseRule(text);
  if (!isAllDay) return rule;
  if (["HOURLY", "MINUTELY", "SECONDLY"].includes(rule.frequency)) {
    throw new RuleUnreadable("hours of an event that has only days");
  }
  return { ...rule, hours: undefined, minutes: undefined, seconds: undefined };
}

function startsOf(
  rule: Rule,
  series: Series,
  { window, budget }: { readonly window: Window; readonly budget: WorkBudget },
): readonly number[] {
  const { clock } = series;
  const wallWindow = {
    fromMs: clock.toWallMs(window.fromMs - series.durationMs) - MARGIN_MS,
    toMs: Math.min(clock.toWallMs(window.toMs) + MARGIN_MS, lastWallMs(rule, series)),
  };
  const starts: number[] = [];
  for (const wallMs of expandRule(rule, series.startWallMs, { window: wallWindow, budget })) {
    const startMs = clock.toUtcMs(wallMs);
    const isPast = !series.isAllDay && rule.until?.form === "utc" && startMs > rule.until.ms;
    if (!isPast) starts.push(startMs);
  }
  return starts;
}

/** The last wall time that UNTIL allows; of a moment in UTC a little more, since clocks may be turned. */
function lastWallMs({ until }: Rule, { clock, isAllDay }: Series): number {
  if (until === undefined) return Number.POSITIVE_INFINITY;
  if (until.form === "date") return until.ms + DAY_MS - 1;
  if (until.form === "local") return until.ms;
  const wallMs = clock.toWallMs(until.ms);
  // Of days that end at a moment the later reading counts: busy is the safe answer.
  return isAllDay ? Math.max(wallMs, until.ms) : wallMs + DAY_MS;
}

function endOf(series: Series, startMs: number, durationMs: number): number {
  if (!series.isAllDay) return startMs + durationMs;
  return series.clock.toUtcMs(wallOf(startMs, series.clock, true) + durationMs);
}

/** Where clocks are turned at midnight, a day begins at one, and is that day all the same. */
function wallOf(utcMs: number, clock: ZoneClock, isAllDay: boolean): number {
  const wallMs = clock.toWallMs(utcMs);
  return isAllDay ? Math.floor(wallMs / DAY_MS) * DAY_MS : wallMs;
}

/** A listed date as a start of this series. An all-day series knows days, however they are written. */
function startOf(date: ListedDate, series: Series): number {
  if (date.isDate) return series.clock.toUtcMs(date.wallMs);
  if (!series.isAllDay) return date.utcMs;
  const isMidnight = date.utcMs % DAY_MS === 0;
  const dayMs = isMidnight ? date.utcMs : Math.floor(date.wallMs / DAY_MS) * DAY_MS;
  return series.clock.toUtcMs(dayMs);
}
