import type { GoogleEvent, GoogleEventTime } from "../core/google-event.ts";
import { DAY_MS } from "./civil-days.ts";
import { zoneClock, type ZoneClock } from "./zone-clock.ts";

/** When an event takes place. */
export interface EventSpan {
  readonly startMs: number;
  readonly endMs: number;
  readonly isAllDay: boolean;
}

/** The span of an event; undefined when it cannot be read. A date begins at the calendar's midnight. */
export function spanOf(event: GoogleEvent, calendarClock: ZoneClock): EventSpan | undefined {
  const startMs = momentOf(event.start, calendarClock);
  const endMs = momentOf(event.end, calendarClock);
  if (startMs === undefined || endMs === undefined || endMs < startMs) return undefined;
  return { startMs, endMs, isAllDay: isDate(event.start) };
}

/** A time of Google's as a moment; undefined when it is none, or its zone is not known. */
export function momentOf(
  time: GoogleEventTime | null | undefined,
  calendarClock: ZoneClock,
): number | undefined {
  if (typeof time?.date === "string") {
    const wallMs = wallOfDate(time.date);
    return wallMs === undefined ? undefined : calendarClock.toUtcMs(wallMs);
  }
  const text = time?.dateTime;
  if (typeof text !== "string" || !DATE_TIME.test(text)) return undefined;
  const isExact = OFFSET.test(text);
  const ms = Date.parse(isExact ? text : `${text}Z`);
  if (Number.isNaN(ms)) return undefined;
  return isExact ? ms : clockOf(time, calendarClock)?.toUtcMs(ms);
}

/** True for a `date`: an all-day event. */
export function isDate(time: GoogleEventTime | null | undefined): boolean {
  return typeof time?.date === "string";
}

/** The clock that a time is told by; undefined when its zone is not known. */
export function clockOf(
  time: GoogleEventTime | null | undefined,
  calendarClock: ZoneClock,
): ZoneClock | undefined {
  const zone = time?.timeZone;
  return typeof zone === "string" && zone !== "" ? zoneClock(zone) : calendarClock;
}

/** RFC 3339 with the offset of a clock, as Google writes a `dateTime`. */
export function formatMoment(utcMs: number, clock: ZoneClock): string {
  const wallMs = clock.toWallMs(utcMs);
  const text = new Date(wallMs).toISOString().slice(0, 19);
  const offsetMinutes = Math.round((wallMs - utcMs) / 60_000);
  if (offsetMinutes === 0) return `${text}Z`;
  const absolute = Math.abs(offsetMinutes);
  const hours = String(Math.floor(absolute / 60)).padStart(2, "0");
  const minutes = String(absolute % 60).padStart(2, "0");
  return `${text}${offsetMinutes < 0 ? "-" : "+"}${hours}:${minutes}`;
}

const DATE_TIME = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:?\d\d)?$/;
const OFFSET = /(?:[Zz]|[+-]\d\d:?\d\d)$/;

function wallOfDate(text: string): number | undefined {
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  // Date.parse takes 31 February for a day in March.
  const isReal = !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text);
  return isReal && ms % DAY_MS === 0 ? ms : undefined;
}
