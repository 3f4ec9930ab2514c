import type { GoogleEvent } from "../core/google-event.ts";
import type { Projection } from "./event-columns.ts";

/** What of an event is kept: everything, or only what busy times follow from. */
export interface Mirror {
  /** Part of every stored version, so that a mirror that changes its kind writes its events anew. */
  readonly name: string;
  readonly project: Projection;
  readonly keepsTitles: boolean;
}

// A list of what is kept, not of what is dropped: a field that Google adds tomorrow stays out.
const BUSY_FIELDS = [
  "id",
  "status",
  "etag",
  "start",
  "end",
  "endTimeUnspecified",
  "recurrence",
  "recurringEventId",
  "originalStartTime",
  "transparency",
  "eventType",
  "updated",
] as const;

/** The mirror that `BALLAST_MIRROR` names. */
export function mirrorOf(kind: "full" | "busy"): Mirror {
  return kind === "full"
    ? { name: "full", project: (event) => event, keepsTitles: true }
    : { name: "busy", project: toBusyEvent, keepsTitles: false };
}

function toBusyEvent(event: GoogleEvent): GoogleEvent {
  const kept: Record<string, unknown> = {};
  for (const field of BUSY_FIELDS) {
    if (event[field] !== undefined) kept[field] = event[field];
  }
  const answer = ownAnswer(event["attendees"]);
  // A declined event is free: the calendar's own answer is needed, its address is not.
  if (answer !== undefined) kept["attendees"] = [{ self: true, responseStatus: answer }];
  return { ...kept, id: event.id };
}

function ownAnswer(attendees: unknown): string | undefined {
  if (!Array.isArray(attendees)) return undefined;
  for (const attendee of attendees) {
    if (!isRecord(attendee) || attendee["self"] !== true) continue;
    const answer = attendee["responseStatus"];
    return typeof answer === "string" ? answer : undefined;
  }
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
