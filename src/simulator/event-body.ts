import { isRecord } from "./check-body.ts";
import { momentOf, parseDate, parseDateTime, writeMoment } from "./event-span.ts";
import { GoogleError, badRequest } from "./google-error.ts";
import { recurrenceProblem } from "./recurrence.ts";
import type { EventDateTime, EventResource } from "./wire-resources.ts";
import type { Calendar } from "./world.ts";
import { isTimeZone } from "./zone-time.ts";

/** Fields only Google writes; a client's values for them are ignored. */
const OURS = ["kind", "etag", "htmlLink", "created", "updated", "creator", "organizer"] as const;

/** Merge a PATCH into a resource: objects merge, arrays and values replace, null removes. */
export function mergePatch(
  target: Record<string, unknown>,
  patch: Record<string, unknown>,
): Record<string, unknown> {
  const merged = { ...target };
  for (const [name, value] of Object.entries(patch)) {
    const before = merged[name];
    if (value === null) delete merged[name];
    else if (isRecord(value)) merged[name] = mergePatch(isRecord(before) ? before : {}, value);
    else merged[name] = value;
  }
  return merged;
}

/** What a client may say about an event, checked by type already: without Google's own fields, without nulls. */
export function clientFields(body: Record<string, unknown>): EventResource {
  const fields = mergePatch({}, body);
  for (const name of OURS) delete fields[name];
  return fields;
}

/** Check an event's times and recurrence and write them as Google does; throws 400 with Google's reason. */
export function normalizeEvent(event: EventResource, calendar: Calendar): EventResource {
  const start = normalizeMoment(event.start, "start", calendar);
  const end = normalizeMoment(event.end, "end", calendar);
  requireOrder({ start, end }, calendar);
  const recurrence = readRecurrence(event);
  const attendees = event.attendees?.map((attendee) => ({
    ...attendee,
    responseStatus: attendee.responseStatus ?? "needsAction",
    ...(attendee.email === calendar.id ? { self: true } : {}),
  }));
  const { recurrence: _, ...rest } = event;
  return {
    ...rest,
    status: event.status ?? "confirmed",
    start,
    end,
    ...(recurrence.length === 0 ? {} : { recurrence }),
    ...(attendees === undefined || attendees.length === 0 ? {} : { attendees }),
    ...readEnums(event),
  };
}

function normalizeMoment(
  value: EventDateTime | undefined,
  name: "start" | "end",
  calendar: Calendar,
): EventDateTime {
  const given = value ?? {};
  if (typeof given.date === "string") {
    if (typeof given.dateTime === "string") throw invalidTime(name);
    if (parseDate(given.date) === undefined) throw invalidTime(name);
    return { date: given.date };
  }
  if (typeof given.dateTime !== "string") throw badRequest(`Missing ${name} time.`, "required");
  return normalizeDateTime(given.dateTime, { name, zone: given.timeZone ?? undefined, calendar });
}

function normalizeDateTime(
  text: string,
  of: {
    readonly name: "start" | "end";
    readonly zone: string | undefined;
    readonly calendar: Calendar;
  },
): EventDateTime {
  const { name, zone, calendar } = of;
  if (zone !== undefined && !isTimeZone(zone)) {
    throw badRequest(`Invalid time zone definition for ${name} time.`);
  }
  const atMs = parseDateTime(text, zone);
  if (atMs !== undefined) {
    return writeMoment(atMs, { isAllDay: false, zone: zone ?? calendar.timeZone });
  }
  // Readable in some zone, but none was given.
  if (parseDateTime(text, "UTC") === undefined) throw invalidTime(name);
  throw badRequest(`Missing time zone definition for ${name} time.`, "required");
}

function requireOrder(
  { start, end }: { readonly start: EventDateTime; readonly end: EventDateTime },
  calendar: Calendar,
): void {
  if ((start.date === undefined) !== (end.date === undefined)) throw invalidTime("start");
  const startMs = momentOf(start, calendar.timeZone) ?? 0;
  const endMs = momentOf(end, calendar.timeZone) ?? 0;
  if (endMs >= startMs) return;
  throw new GoogleError({
    status: 400,
    domain: "calendar",
    reason: "timeRangeEmpty",
    message: "The specified time range is empty.",
  });
}

function readRecurrence(event: EventResource): readonly string[] & string[] {
  const lines = event.recurrence ?? [];
  if (lines.length === 0) return [];
  if (typeof event.recurringEventId === "string") {
    throw badRequest("Invalid recurrence rule.");
  }
  const problem = recurrenceProblem(lines);
  if (problem !== undefined) throw badRequest(problem);
  return lines;
}

const ENUMS = {
  status: ["confirmed", "tentative", "cancelled"],
  transparency: ["opaque", "transparent"],
  visibility: ["default", "public", "private", "confidential"],
  eventType: ["default", "birthday", "focusTime", "fromGmail", "outOfOffice", "workingLocation"],
} as const;

function readEnums(event: EventResource): Pick<EventResource, "eventType"> {
  for (const [name, allowed] of Object.entries(ENUMS)) {
    const value: unknown = new Map<string, unknown>(Object.entries(event)).get(name);
    if (typeof value === "string" && !allowed.some((one) => one === value)) {
      throw badRequest(`Invalid value for: ${name}`);
    }
  }
  return { eventType: event.eventType ?? "default" };
}

function invalidTime(name: "start" | "end"): GoogleError {
  return badRequest(`Invalid ${name} time.`);
}
