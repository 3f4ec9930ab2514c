import {
  dateOfDay,
  dayOfDate,
  daysInMonth,
  daysInYear,
  modulo,
  weekdayOfDay,
  type CivilDate,
} from "./civil-days.ts";
import type { Rule, WeekdayPart } from "./parse-rule.ts";

const ALL_MONTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/** A run of days that a numbered weekday (`-1FR`) counts in: a month or a year. */
interface Scope {
  readonly firstDay: number;
  readonly days: number;
}

/** Where the parts that a rule leaves out come from. */
export interface RuleStart {
  readonly date: CivilDate;
  readonly weekday: number;
}

/** The days of one year of a YEARLY rule, ascending. Days of week 1 or 53 may lie in the years beside it. */
export function daysOfYear(rule: Rule, start: RuleStart, year: number): readonly number[] {
  if (rule.weekNumbers !== undefined) return daysOfWeeks(rule, start, year);
  if (rule.yearDays !== undefined) return yearDaysOf(rule, year);
  if (rule.months !== undefined) {
    return rule.months.flatMap((month) => daysOfMonth(rule, start, { year, month }));
  }
  const scope = yearScope(year);
  if (rule.monthDays === undefined && rule.weekdays !== undefined) {
    return weekdaysIn(rule.weekdays, scope);
  }
  // Days without a month are days of every month; nothing at all is the day of the start.
  const months = rule.monthDays === undefined ? [start.date.month] : ALL_MONTHS;
  return months
    .flatMap((month) => daysOfMonth(rule, start, { year, month }))
    .filter((day) => hasWeekday(rule.weekdays, day, scope));
}

/** The days of one month, ascending; the rule's BYMONTH is not asked. */
export function daysOfMonth(
  rule: Rule,
  start: RuleStart,
  { year, month }: { readonly year: number; readonly month: number },
): readonly number[] {
  const scope = { firstDay: dayOfDate(year, month, 1), days: daysInMonth(year, month) };
  if (rule.monthDays === undefined && rule.weekdays !== undefined) {
    return weekdaysIn(rule.weekdays, scope);
  }
  const days = placesIn(rule.monthDays ?? [start.date.day], scope);
  // A numbered weekday of a YEARLY rule without months counts in its year: the caller filters.
  if (rule.frequency === "YEARLY" && rule.months === undefined) return days;
  return days.filter((day) => hasWeekday(rule.weekdays, day, scope));
}

/** The days of the week that begins on `weekStartDay`, ascending. */
export function daysOfWeek(rule: Rule, start: RuleStart, weekStartDay: number): readonly number[] {
  const weekdays = rule.weekdays?.map(({ weekday }) => weekday) ?? [start.weekday];
  const offsets = new Set(weekdays.map((weekday) => modulo(weekday - rule.weekStart, 7)));
  return [...offsets]
    .toSorted((left, right) => left - right)
    .map((offset) => weekStartDay + offset)
    .filter((day) => isInMonths(rule.months, day));
}

/** Whether a rule of days or shorter periods may have an occurrence on this day. */
export function isDayOf(rule: Rule, day: number): boolean {
  if (!isInMonths(rule.months, day)) return false;
  if (rule.weekdays !== undefined) {
    const weekday = weekdayOfDay(day);
    if (!rule.weekdays.some((part) => part.weekday === weekday)) return false;
  }
  if (rule.monthDays === undefined && rule.yearDays === undefined) return true;
  const { year, month } = dateOfDay(day);
  const monthScope = { firstDay: dayOfDate(year, month, 1), days: daysInMonth(year, month) };
  return (
    isPlaceIn(rule.monthDays, day, monthScope) && isPlaceIn(rule.yearDays, day, yearScope(year))
  );
}

/** The first day of the week that a day is in. */
export function weekStartOf(day: number, weekStart: number): number {
  return day - modulo(weekdayOfDay(day) - weekStart, 7);
}

function yearDaysOf(rule: Rule, year: number): readonly number[] {
  const scope = yearScope(year);
  return placesIn(rule.yearDays ?? [], scope).filter((day) => {
    const { month } = dateOfDay(day);
    const monthScope = { firstDay: dayOfDate(year, month, 1), days: daysInMonth(year, month) };
    return (
      (rule.months?.includes(month) ?? true) &&
      isPlaceIn(rule.monthDays, day, monthScope) &&
      hasWeekday(rule.weekdays, day, rule.months === undefined ? scope : monthScope)
    );
  });
}

function daysOfWeeks(rule: Rule, start: RuleStart, year: number): readonly number[] {
  const first = firstWeekOf(year, rule.weekStart);
  const weeks = (firstWeekOf(year + 1, rule.weekStart) - first) / 7;
  const isOwnWeekday =
    rule.weekdays === undefined && rule.monthDays === undefined && rule.yearDays === undefined;
  const days = new Set<number>();
  for (const number of rule.weekNumbers ?? []) {
    const index = number > 0 ? number - 1 : weeks + number;
    if (index < 0 || index >= weeks) continue;
    for (let day = first + index * 7; day < first + index * 7 + 7; day++) {
      const fits = isOwnWeekday ? weekdayOfDay(day) === start.weekday : true;
      if (fits && isDayOf(rule, day)) days.add(day);
    }
  }
  return [...days].toSorted((left, right) => left - right);
}

/** The first day of week 1: the first week with four days or more in the year. */
function firstWeekOf(year: number, weekStart: number): number {
  return weekStartOf(dayOfDate(year, 1, 4), weekStart);
}

function yearScope(year: number): Scope {
  return { firstDay: dayOfDate(year, 1, 1), days: daysInYear(year) };
}

/** The days of a scope at these places, counted from 1 or, negative, from its end. */
function placesIn(places: readonly number[], scope: Scope): readonly number[] {
  const days = new Set<number>();
  for (const place of places) {
    if (Math.abs(place) > scope.days) continue;
    days.add(scope.firstDay + (place > 0 ? place - 1 : scope.days + place));
  }
  return [...days].toSorted((left, right) => left - right);
}

function isPlaceIn(places: readonly number[] | undefined, day: number, scope: Scope): boolean {
  if (places === undefined) return true;
  const place = day - scope.firstDay + 1;
  return places.includes(place) || places.includes(place - scope.days - 1);
}

function weekdaysIn(parts: readonly WeekdayPart[], scope: Scope): readonly number[] {
  const days = new Set<number>();
  const end = scope.firstDay + scope.days;
  for (const { n, weekday } of parts) {
    const first = scope.firstDay + modulo(weekday - weekdayOfDay(scope.firstDay), 7);
    if (n === 0) {
      for (let day = first; day < end; day += 7) days.add(day);
      continue;
    }
    const last = first + Math.floor((end - 1 - first) / 7) * 7;
    const day = n > 0 ? first + (n - 1) * 7 : last + (n + 1) * 7;
    if (day >= scope.firstDay && day < end) days.add(day);
  }
  return [...days].toSorted((left, right) => left - right);
}

function hasWeekday(parts: readonly WeekdayPart[] | undefined, day: number, scope: Scope): boolean {
  if (parts === undefined) return true;
  const weekday = weekdayOfDay(day);
  const fromStart = Math.floor((day - scope.firstDay) / 7) + 1;
  const fromEnd = -(Math.floor((scope.firstDay + scope.days - 1 - day) / 7) + 1);
  return parts.some(
    (part) =>
      part.weekday === weekday && (part.n === 0 || part.n === fromStart || part.n === fromEnd),
  );
}

function isInMonths(months: readonly number[] | undefined, day: number): boolean {
  return months === undefined || months.includes(dateOfDay(day).month);
}
