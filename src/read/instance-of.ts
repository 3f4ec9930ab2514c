import type { EventInstance } from "../core/calendar-reads.ts";
import { epochMs } from "../core/clock.ts";
import type { GoogleEvent, GoogleEventTime } from "../core/google-event.ts";
import { clockOf, formatMoment } from "./event-times.ts";
import type { Taking } from "./expand-range.ts";
import type { Series } from "./series.ts";

/** What takes place, as Google lists it with `singleEvents=true`: an occurrence has an id and times of its own. */
export function instanceOf(taking: Taking): EventInstance {
  const { event, series, isAllDay } = taking;
  return {
    startMs: epochMs(taking.startMs),
    endMs: epochMs(taking.endMs),
    isAllDay,
    event: series === undefined ? event : occurrenceEvent(taking, series),
  };
}

function occurrenceEvent({ event, startMs, endMs }: Taking, series: Series): GoogleEvent {
  const { recurrence: _, ...rest } = event;
  const start = timeOf(startMs, event.start, series);
  return {
    ...rest,
    id: `${event.id}_${suffixOf(startMs, series)}`,
    start,
    end: timeOf(endMs, event.end, series),
    recurringEventId: event.id,
    originalStartTime: start,
  };
}

function timeOf(
  utcMs: number,
  like: GoogleEventTime | null | undefined,
  series: Series,
): GoogleEventTime {
  if (series.isAllDay) return { date: dateOf(utcMs, series) };
  const clock = clockOf(like, series.clock) ?? series.clock;
  const timeZone = like?.timeZone;
  const dateTime = formatMoment(utcMs, clock);
  return typeof timeZone === "string" ? { dateTime, timeZone } : { dateTime };
}

/** Google names an occurrence by where it would have been: `…_20260105` or `…_20260105T090000Z`. */
function suffixOf(startMs: number, series: Series): string {
  if (series.isAllDay) return dateOf(startMs, series).replaceAll("-", "");
  return `${new Date(startMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
}

function dateOf(utcMs: number, { clock }: Series): string {
  return new Date(clock.toWallMs(utcMs)).toISOString().slice(0, 10);
}
