import { isDeepStrictEqual } from "node:util";
import type { GoogleEvent } from "../../src/core/google-event.ts";

/** What a copy of a calendar gets wrong, event by event, one sentence each; empty when nothing. */
export function compareEvents(
  calendar: string,
  copy: readonly GoogleEvent[],
  truth: readonly GoogleEvent[],
): string[] {
  const held = new Map(copy.map((event) => [event.id, event]));
  const wrong = truth
    .filter((event) => !isSame(held.get(event.id), event))
    .map((event) => `${calendar} differs from Google in ${event.id}`);
  const ids = new Set(truth.map(({ id }) => id));
  const extra = copy
    .filter(({ id }) => !ids.has(id))
    .map(({ id }) => `${calendar} holds ${id}, Google does not`);
  return [...wrong, ...extra];
}

/** Of a cancelled exception only these are promised, and a delta may tell less than a full list. */
function isSame(held: GoogleEvent | undefined, event: GoogleEvent): boolean {
  if (held === undefined) return false;
  if (event.status !== "cancelled") return isDeepStrictEqual(held, event);
  return (
    held.status === "cancelled" &&
    held.recurringEventId === event.recurringEventId &&
    isDeepStrictEqual(held.originalStartTime, event.originalStartTime)
  );
}
