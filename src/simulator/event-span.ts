import type { EventDateTime, EventResource } from "./wire-resources.ts";
import { formatDateTime, wallToUtcMs } from "./zone-time.ts";

/** When an event happens, as moments. */
export interface EventSpan {
  readonly startMs: number;
  readonly endMs: number;
  readonly isAllDay: boolean;
  /** The zone its recurrence is computed in. */
  readonly zone: string;
}

/** A start or end as a moment: a date begins at the calendar's midnight; undefined when neither form can be read. */
export function momentOf(
  value: EventDateTime | undefined,
  calendarZone: string,
): number | undefined {
  if (typeof value?.date === "string") {
    const wallMs = parseDate(value.date);
    return wallMs === undefined ? undefined : wallToUtcMs(wallMs, calendarZone);
  }
  if (typeof value?.dateTime !== "string") return undefined;
  return parseDateTime(value.dateTime, value.timeZone ?? calendarZone);
}

/** The span of an event; undefined for tombstones, which have none. */
export function spanOf(event: EventResource, calendarZone: string): EventSpan | undefined {
  const startMs = momentOf(event.start, calendarZone);
  const endMs = momentOf(event.end, calendarZone);
  if (startMs === undefined || endMs === undefined) return undefined;
  const isAllDay = typeof event.start?.date === "string";
  const zone = isAllDay ? calendarZone : (event.start?.timeZone ?? calendarZone);
  return { startMs, endMs, isAllDay, zone };
}

/** Milliseconds of a `YYYY-MM-DD`, read as UTC; undefined when there is no such day. */
export function parseDate(text: string): number | undefined {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return undefined;
  const atMs = Date.parse(`${text}T00:00:00Z`);
  // Date.parse accepts 31 February by rolling over into March.
  return Number.isNaN(atMs) || new Date(atMs).toISOString().slice(0, 10) !== text
    ? undefined
    : atMs;
}

const DATE_TIME = /^(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.\d+)?([Zz]|[+-]\d{2}:\d{2})?$/;

/** The moment of an RFC 3339 date-time; without an offset it is read in the given zone. */
export function parseDateTime(text: string, zone: string | undefined): number | undefined {
  const [, day = "", time = "", offset] = DATE_TIME.exec(text) ?? [];
  if (parseDate(day) === undefined) return undefined;
  const atMs = Date.parse(`${day}T${time}${offset?.toUpperCase() ?? "Z"}`);
  if (Number.isNaN(atMs) || offset !== undefined) return Number.isNaN(atMs) ? undefined : atMs;
  return zone === undefined ? undefined : wallToUtcMs(atMs, zone);
}

/** Write a moment in the form an event uses: a date for all-day events, else a date-time in its zone. */
export function writeMoment(
  atMs: number,
  form: { readonly isAllDay: boolean; readonly zone: string },
): EventDateTime {
  if (form.isAllDay) return { date: formatDateTime(atMs, form.zone).slice(0, 10) };
  return { dateTime: formatDateTime(atMs, form.zone), timeZone: form.zone };
}

/** The part of an instance's id that names its original start: `20260101T100000Z` or `20260101`. */
export function instanceSuffix(
  startMs: number,
  form: { readonly isAllDay: boolean; readonly zone: string },
): string {
  if (form.isAllDay) return formatDateTime(startMs, form.zone).slice(0, 10).replaceAll("-", "");
  return new Date(startMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, "") + "Z";
}
