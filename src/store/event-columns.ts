import type { GoogleEvent, GoogleEventTime } from "../core/google-event.ts";
import { firstPossibleStart, lastPossibleEnd, OPEN_ENDED_MS } from "./series-end.ts";
import { toStoredText } from "./stored-text.ts";
import type { EventColumns } from "./tables.ts";

/** Which part of an event is stored; a change of it makes every stored version differ. */
export type Projection = (event: GoogleEvent) => GoogleEvent;

/** A row of `events` but for its calendar. */
export interface EventRow extends EventColumns {
  readonly raw: string;
}

/** The columns of `EventRow` and their types, for `Dialect.rowsFrom`. */
export const EVENT_ROW_TYPES = {
  event_key: "text",
  version: "text",
  kind: "text",
  status: "text",
  recurring_event_key: "text",
  first_start_ms: "bigint",
  last_end_ms: "bigint",
  original_start_ms: "bigint",
  duration_ms: "bigint",
  updated_ms: "bigint",
  raw: "text",
} as const;

const HOUR_MS = 3_600_000;
// Midnight of a date is up to 14 hours before UTC's and up to 12 after it.
const EARLIEST_ZONE_MS = -14 * HOUR_MS;
const LATEST_ZONE_MS = 12 * HOUR_MS;
const ALWAYS_STARTED_MS = -OPEN_ENDED_MS;

interface Span {
  readonly earliestMs: number;
  readonly latestMs: number;
}

/**
 * A listing's events as rows: one for each id (the last wins), in order of id. An event whose times
 * cannot be read is kept and counts as touching every range, because a reader must not take it for free.
 */
export function toEventRows(
  items: readonly GoogleEvent[],
  mirror: { readonly name: string; readonly project: Projection },
): EventRow[] {
  const rows = new Map<string, EventRow>();
  for (const item of items) {
    const row = toEventRow(item, mirror);
    rows.set(row.event_key, row);
  }
  return [...rows.values()];
}

function toEventRow(
  event: GoogleEvent,
  mirror: { readonly name: string; readonly project: Projection },
): EventRow {
  const etag = textOf(event.etag);
  const series = textOf(event.recurringEventId);
  const updatedMs = Date.parse(textOf(event["updated"]) ?? "");
  return {
    event_key: toStoredText(event.id),
    version: etag === undefined ? null : toStoredText(`${mirror.name}:${etag}`),
    kind: series === undefined ? kindOfSeries(event) : "exception",
    status: statusOf(event),
    recurring_event_key: series === undefined ? null : toStoredText(series),
    ...times(event),
    updated_ms: Number.isNaN(updatedMs) ? null : updatedMs,
    raw: toRaw(mirror.project(event)),
  };
}

/** JSON escapes NUL and lone surrogates: any event is plain text here. */
function toRaw(event: GoogleEvent): string {
  try {
    return JSON.stringify(event);
  } catch {
    // Nested deeper than can be written, though it could be read: one such field must not cost the calendar.
    return JSON.stringify(Object.fromEntries(Object.entries(event).filter(isWritable)));
  }
}

function isWritable(field: readonly [string, unknown]): boolean {
  try {
    JSON.stringify(field);
    return true;
  } catch {
    return false;
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function statusOf(event: GoogleEvent): string | null {
  const status = textOf(event.status);
  return status === undefined ? null : toStoredText(status);
}

function recurrenceOf(event: GoogleEvent): readonly string[] {
  const lines: unknown = event.recurrence;
  return Array.isArray(lines) ? lines.filter((line) => typeof line === "string") : [];
}

function kindOfSeries(event: GoogleEvent): "master" | "single" {
  return recurrenceOf(event).length > 0 ? "master" : "single";
}

function times(
  event: GoogleEvent,
): Pick<EventColumns, "first_start_ms" | "last_end_ms" | "original_start_ms" | "duration_ms"> {
  const original = spanOf(event.originalStartTime);
  const start = spanOf(event.start) ?? original;
  const originalStartMs = original?.earliestMs ?? null;
  if (start === undefined) {
    return {
      first_start_ms: ALWAYS_STARTED_MS,
      last_end_ms: OPEN_ENDED_MS,
      original_start_ms: originalStartMs,
      duration_ms: null,
    };
  }
  const endMs = Math.max(spanOf(event.end)?.latestMs ?? start.latestMs, start.latestMs);
  // From the first moment of time to its last is more than a number holds exactly.
  const durationMs = Math.min(endMs - start.earliestMs, OPEN_ENDED_MS);
  const recurrence = recurrenceOf(event);
  const isSeries = recurrence.length > 0 && textOf(event.recurringEventId) === undefined;
  return {
    first_start_ms: isSeries ? firstPossibleStart(recurrence, start.earliestMs) : start.earliestMs,
    last_end_ms: isSeries
      ? lastPossibleEnd(recurrence, { startMs: start.latestMs, durationMs })
      : endMs,
    original_start_ms: originalStartMs,
    duration_ms: durationMs,
  };
}

/** Between which moments a time of Google's lies: one moment, unless its zone is not known here. */
function spanOf(time: GoogleEventTime | null | undefined): Span | undefined {
  if (time === null || typeof time !== "object") return undefined;
  const dateTime = textOf(time.dateTime);
  const date = textOf(time.date);
  const isExact = dateTime !== undefined && /(?:[Zz]|[+-]\d\d:?\d\d)$/.test(dateTime);
  const text = dateTime ?? date;
  if (text === undefined) return undefined;
  const ms = Date.parse(isExact || dateTime === undefined ? text : `${text}Z`);
  if (Number.isNaN(ms)) return undefined;
  return isExact
    ? { earliestMs: ms, latestMs: ms }
    : { earliestMs: ms + EARLIEST_ZONE_MS, latestMs: ms + LATEST_ZONE_MS };
}
