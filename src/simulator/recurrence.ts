import ICAL from "ical.js";
import type { EventSpan } from "./event-span.ts";
import type { EventResource } from "./wire-resources.ts";
import { isTimeZone, utcToWallMs, wallToUtcMs } from "./zone-time.ts";

// The readers under test expand by arithmetic of their own (src/read); this must stay a library (ical.js), or both would share their mistakes.

/** An expansion stops here, whatever the rule says: `FREQ=SECONDLY` would never end. */
const MAX_STEPS = 20_000;
const expanded = new WeakMap<EventResource, { untilMs: number; starts: readonly number[] }>();

/** Why a recurrence cannot be stored; undefined when it can. */
export function recurrenceProblem(lines: readonly string[]): string | undefined {
  for (const line of lines) {
    const problem = lineProblem(line);
    if (problem !== undefined) return problem;
  }
  const rules = lines.filter((line) => /^(?:RRULE|RDATE)[:;]/i.test(line));
  return rules.length === 0 ? "Invalid recurrence rule." : undefined;
}

/** The starts of a series up to a moment, ascending, the series' own start first. Expansions are kept per stored version. */
export function seriesStarts(
  master: EventResource,
  span: EventSpan,
  untilMs: number,
): readonly number[] {
  const known = expanded.get(master);
  if (known && known.untilMs >= untilMs) return known.starts;
  const starts = expand(master.recurrence ?? [], span, untilMs);
  expanded.set(master, { untilMs, starts });
  return starts;
}

function lineProblem(line: string): string | undefined {
  try {
    if (/^RRULE:/i.test(line)) {
      const rule = ICAL.Recur.fromString(line.slice(6));
      rule.iterator(ICAL.Time.fromDateTimeString("2026-01-01T00:00:00")).next();
      return /FREQ=/i.test(line) ? undefined : "Invalid recurrence rule.";
    }
    if (/^(?:RDATE|EXDATE|EXRULE)[:;]/i.test(line)) {
      const isReadable = line
        .slice(line.indexOf(":") + 1)
        .split(",")
        .every((value) => /^\d{8}(?:T\d{6}Z?)?/.test(value) || line.startsWith("EXRULE"));
      return isReadable ? undefined : "Invalid recurrence rule.";
    }
  } catch {
    return "Invalid recurrence rule.";
  }
  return "Invalid recurrence rule.";
}

function expand(lines: readonly string[], span: EventSpan, untilMs: number): readonly number[] {
  const starts = new Set<number>([span.startMs]);
  const excluded = new Set<number>();
  for (const line of lines) {
    const name = /^[A-Z]+/i.exec(line)?.[0].toUpperCase();
    if (name === "RRULE") for (const at of expandRule(line.slice(6), span, untilMs)) starts.add(at);
    if (name === "RDATE") for (const at of dateList(line, span)) starts.add(at);
    if (name === "EXDATE") for (const at of dateList(line, span)) excluded.add(at);
  }
  return [...starts]
    .filter((at) => at <= untilMs && !excluded.has(at))
    .toSorted((left, right) => left - right);
}

function expandRule(text: string, span: EventSpan, untilMs: number): number[] {
  const starts: number[] = [];
  let iterator: ICAL.RecurIterator;
  try {
    const rule = ICAL.Recur.fromString(withExplicitDay(withWallUntil(text, span), span));
    iterator = rule.iterator(timeOf(utcToWallMs(span.startMs, span.zone)));
  } catch {
    return starts;
  }
  const untilWallMs = utcToWallMs(untilMs, span.zone) + 86_400_000;
  for (let step = 0; step < MAX_STEPS; step++) {
    const time = nextOf(iterator);
    if (!time) break;
    const wallMs = Date.UTC(
      time.year,
      time.month - 1,
      time.day,
      time.hour,
      time.minute,
      time.second,
    );
    if (wallMs > untilWallMs) break;
    starts.push(wallToUtcMs(wallMs, span.zone));
  }
  return starts;
}

/** ical.js types `next` as never empty; at the end it returns null. */
function nextOf(iterator: ICAL.RecurIterator): ICAL.Time | null {
  return iterator.next();
}

function timeOf(wallMs: number): ICAL.Time {
  return ICAL.Time.fromDateTimeString(new Date(wallMs).toISOString().slice(0, 19));
}

/** A day that a month or year lacks is skipped (RFC 5545), but ical.js only does so when the rule names the day. */
function withExplicitDay(rule: string, span: EventSpan): string {
  if (/;BY(?!SETPOS)/i.test(rule)) return rule;
  const start = new Date(utcToWallMs(span.startMs, span.zone));
  const day = `BYMONTHDAY=${start.getUTCDate()}`;
  if (/FREQ=MONTHLY/i.test(rule)) return `${rule};${day}`;
  if (/FREQ=YEARLY/i.test(rule)) return `${rule};BYMONTH=${start.getUTCMonth() + 1};${day}`;
  return rule;
}

/** The rule runs on the wall clock, so its UNTIL must, too; a date means the whole day. */
function withWallUntil(text: string, span: EventSpan): string {
  const match = /UNTIL=(\d{8})(?:T(\d{6})(Z?))?/i.exec(text);
  if (match === null) return text;
  const [whole, day = "", time, utc] = match;
  return text.replace(whole, `UNTIL=${wallUntil({ day, time, isUtc: utc !== "" }, span)}`);
}

function wallUntil(
  until: { readonly day: string; readonly time: string | undefined; readonly isUtc: boolean },
  span: EventSpan,
): string {
  if (until.time === undefined) return `${until.day}T235959`;
  if (!until.isUtc) return `${until.day}T${until.time}`;
  const wallMs = utcToWallMs(compactMs(until.day, until.time), span.zone);
  return new Date(wallMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
}

function dateList(line: string, span: EventSpan): number[] {
  const colon = line.indexOf(":");
  const named = /TZID=([^;:]+)/i.exec(line.slice(0, colon))?.[1];
  const zone = named !== undefined && isTimeZone(named) ? named : span.zone;
  const moments: number[] = [];
  for (const value of line.slice(colon + 1).split(",")) {
    const match = /^(\d{8})(?:T(\d{6})(Z?))?/i.exec(value.trim());
    if (match === null) continue;
    const wallMs = compactMs(match[1] ?? "", match[2] ?? "000000");
    if (Number.isNaN(wallMs)) continue;
    moments.push(
      match[3] === "Z" ? wallMs : wallToUtcMs(wallMs, match[2] === undefined ? span.zone : zone),
    );
  }
  return moments;
}

function compactMs(day: string, time: string): number {
  const [year, month, date] = [day.slice(0, 4), day.slice(4, 6), day.slice(6, 8)];
  return Date.parse(
    `${year}-${month}-${date}T${time.slice(0, 2)}:${time.slice(2, 4)}:${time.slice(4, 6)}Z`,
  );
}
