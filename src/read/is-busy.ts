import type { GoogleEvent } from "../core/google-event.ts";

const NEVER_BUSY = new Set(["workingLocation", "birthday"]);

/** Whether an event takes up time, once it takes place. Anything not said to be free is busy. */
export function isBusy(event: GoogleEvent, tentative: "busy" | "free"): boolean {
  if (event.status === "cancelled" || event["transparency"] === "transparent") return false;
  const type = event["eventType"];
  if (typeof type === "string" && NEVER_BUSY.has(type)) return false;
  const answer = ownAnswer(event["attendees"]);
  if (answer === "declined") return false;
  const isUndecided =
    event.status === "tentative" || answer === "tentative" || answer === "needsAction";
  return !(isUndecided && tentative === "free");
}

function ownAnswer(attendees: unknown): unknown {
  if (!Array.isArray(attendees)) return undefined;
  const own: unknown = attendees.find((one) => isRecord(one) && one["self"] === true);
  return isRecord(own) ? own["responseStatus"] : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
