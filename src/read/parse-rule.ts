import { DAY_MS, dayOfDate, daysInMonth } from "./civil-days.ts";

const FREQUENCIES = [
  "SECONDLY",
  "MINUTELY",
  "HOURLY",
  "DAILY",
  "WEEKLY",
  "MONTHLY",
  "YEARLY",
] as const;
const WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"] as const;

export type Frequency = (typeof FREQUENCIES)[number];

/** `n` 0: every such weekday. */
export interface WeekdayPart {
  readonly n: number;
  /** 0 is Monday. */
  readonly weekday: number;
}

/** Where a series ends: a date, a local or a UTC date-time; the end itself belongs to it. */
export interface Until {
  readonly form: "date" | "local" | "utc";
  /** As if it were UTC; of a date its midnight. */
  readonly ms: number;
}

/** A recurrence rule (RFC 5545, 3.3.10), read and checked. Undefined parts are not in the rule. */
export interface Rule {
  readonly frequency: Frequency;
  readonly interval: number;
  readonly count: number | undefined;
  readonly until: Until | undefined;
  readonly weekStart: number;
  readonly months: readonly number[] | undefined;
  readonly weekNumbers: readonly number[] | undefined;
  readonly yearDays: readonly number[] | undefined;
  readonly monthDays: readonly number[] | undefined;
  readonly weekdays: readonly WeekdayPart[] | undefined;
  readonly hours: readonly number[] | undefined;
  readonly minutes: readonly number[] | undefined;
  readonly seconds: readonly number[] | undefined;
  readonly positions: readonly number[] | undefined;
}

/** Thrown inside this room only: the rule cannot be followed, so its series is unknown, never absent. */
export class RuleUnreadable extends Error {
  override readonly name = "RuleUnreadable";
}

const NAMES = new Set(
  "FREQ INTERVAL COUNT UNTIL WKST BYMONTH BYWEEKNO BYYEARDAY BYMONTHDAY BYDAY BYHOUR BYMINUTE BYSECOND BYSETPOS".split(
    " ",
  ),
);

// Most series of the world share a few hundred rules. Only what could be read is kept.
const MAX_REMEMBERED = 5_000;
const remembered = new Map<string, Rule>();

/** Read the part of an RRULE or EXRULE after the colon. Throws {@link RuleUnreadable}. */
export function parseRule(text: string): Rule {
  const known = remembered.get(text);
  if (known !== undefined) return known;
  const rule = readRule(text);
  if (remembered.size >= MAX_REMEMBERED) remembered.clear();
  remembered.set(text, rule);
  return rule;
}

function readRule(text: string): Rule {
  const parts = splitParts(text);
  const frequency = FREQUENCIES.find((name) => name === parts.get("FREQ"));
  if (frequency === undefined) throw new RuleUnreadable("no frequency that RFC 5545 knows");
  const rule: Rule = {
    frequency,
    interval: positive(parts.get("INTERVAL")) ?? 1,
    count: positive(parts.get("COUNT")),
    until: readUntil(parts.get("UNTIL")),
    weekStart: readWeekStart(parts.get("WKST")),
    months: readNumbers(parts.get("BYMONTH"), 1, 12),
    weekNumbers: readSigned(parts.get("BYWEEKNO"), 53),
    yearDays: readSigned(parts.get("BYYEARDAY"), 366),
    monthDays: readSigned(parts.get("BYMONTHDAY"), 31),
    weekdays: readWeekdays(parts.get("BYDAY")),
    hours: readNumbers(parts.get("BYHOUR"), 0, 23),
    minutes: readNumbers(parts.get("BYMINUTE"), 0, 59),
    // 60 is a leap second, which no clock here shows.
    seconds: readNumbers(parts.get("BYSECOND"), 0, 60)?.map((second) => Math.min(second, 59)),
    positions: readSigned(parts.get("BYSETPOS"), 366),
  };
  requireLawful(rule);
  return rule;
}

function splitParts(text: string): ReadonlyMap<string, string> {
  const parts = new Map<string, string>();
  for (const part of text.trim().split(";")) {
    if (part === "") continue;
    const [name = "", value = "", ...rest] = part.split("=");
    const key = name.trim().toUpperCase();
    if (!NAMES.has(key) || value === "" || rest.length > 0 || parts.has(key)) {
      throw new RuleUnreadable("a part that RFC 5545 does not know, or one given twice");
    }
    parts.set(key, value.trim().toUpperCase());
  }
  return parts;
}

/** Combinations that RFC 5545 forbids: nobody can say what they mean. */
function requireLawful(rule: Rule): void {
  const { frequency, weekNumbers, yearDays, monthDays, weekdays } = rule;
  const hasNumbered = weekdays?.some(({ n }) => n !== 0) === true;
  const forbidden: readonly boolean[] = [
    weekNumbers !== undefined && frequency !== "YEARLY",
    yearDays !== undefined && ["DAILY", "WEEKLY", "MONTHLY"].includes(frequency),
    monthDays !== undefined && frequency === "WEEKLY",
    hasNumbered && !["MONTHLY", "YEARLY"].includes(frequency),
    hasNumbered && weekNumbers !== undefined,
  ];
  if (forbidden.includes(true)) throw new RuleUnreadable("parts that RFC 5545 forbids together");
}

function positive(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text) || Number(text) < 1) throw new RuleUnreadable("a bad number");
  return Number(text);
}

function readNumbers(text: string | undefined, min: number, max: number): number[] | undefined {
  if (text === undefined) return undefined;
  const numbers = text.split(",").map((one) => {
    const value = Number(one);
    if (!/^[+-]?\d{1,3}$/.test(one) || value < min || value > max) {
      throw new RuleUnreadable("a number out of its range");
    }
    return value;
  });
  return [...new Set(numbers)].toSorted((left, right) => left - right);
}

function readSigned(text: string | undefined, max: number): number[] | undefined {
  const numbers = readNumbers(text, -max, max);
  if (numbers?.includes(0)) throw new RuleUnreadable("a number out of its range");
  return numbers;
}

function readWeekdays(text: string | undefined): WeekdayPart[] | undefined {
  return text?.split(",").map((one) => {
    const [, sign = "", digits = "", name = ""] = /^([+-]?)(\d{0,2})([A-Z]{2})$/.exec(one) ?? [];
    const weekday = WEEKDAYS.findIndex((known) => known === name);
    const n = digits === "" ? 0 : Number(`${sign}${digits}`);
    const isOdd = weekday < 0 || Math.abs(n) > 53 || (digits === "" ? sign !== "" : n === 0);
    if (isOdd) throw new RuleUnreadable("a bad weekday");
    return { n, weekday };
  });
}

function readWeekStart(text: string | undefined): number {
  if (text === undefined) return 0;
  const weekday = WEEKDAYS.findIndex((known) => known === text);
  if (weekday < 0) throw new RuleUnreadable("a bad weekday");
  return weekday;
}

function readUntil(text: string | undefined): Until | undefined {
  if (text === undefined) return undefined;
  const moment = parseCompact(text);
  if (moment === undefined) throw new RuleUnreadable("an end that is no date");
  return moment;
}

/** `20260325`, `20260325T130000` or `…Z`; undefined for anything else. */
export function parseCompact(text: string): Until | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)(?:T(\d{6})(Z?))?$/i.exec(text.trim());
  const [, year = "", month = "", date = "", time, zulu] = match ?? [];
  const day = existingDay(Number(year), Number(month), Number(date));
  const timeMs = time === undefined ? 0 : timeOfDay(time);
  if (match === null || day === undefined || timeMs === undefined) return undefined;
  const ms = day * DAY_MS + timeMs;
  if (time === undefined) return { form: "date", ms };
  return { form: zulu === "" ? "local" : "utc", ms };
}

function existingDay(year: number, month: number, date: number): number | undefined {
  const exists = month >= 1 && month <= 12 && date >= 1 && date <= daysInMonth(year, month);
  return exists ? dayOfDate(year, month, date) : undefined;
}

function timeOfDay(digits: string): number | undefined {
  const [hour = 0, minute = 0, second = 0] = [0, 2, 4].map((at) =>
    Number(digits.slice(at, at + 2)),
  );
  if (hour > 23 || minute > 59 || second > 60) return undefined;
  return ((hour * 60 + minute) * 60 + second) * 1_000;
}
