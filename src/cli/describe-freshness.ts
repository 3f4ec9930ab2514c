import type { UnknownReason } from "../core/calendar-reads.ts";
import type { Freshness } from "../core/event-store.ts";
import { formatAge } from "./output.ts";

/** I11: what is not known never reads as "no events". */
export function describeFreshness(freshness: Freshness): string {
  const { state, reason, ageMs, generation } = freshness;
  const because = reason === undefined ? "" : ` (${reason})`;
  if (generation === 0) {
    return `Never synced${because}: nothing can be said about this calendar's events.`;
  }
  const pending = freshness.pending ? "; something newer was announced and is not in it yet" : "";
  const copy = `generation ${String(generation)}, known to be current ${formatAge(ageMs)} ago${pending}`;
  if (state === "fresh") return `Fresh: ${copy}.`;
  const word = { stale: "Stale", slowed: "Slowed", lost: "Lost", paused: "Paused" };
  const label = state === "never" ? "Never synced" : word[state];
  return `${label}${because}: what follows may be out of date; ${copy}.`;
}

/** Why nothing can be said about a time, after "unknown: ". */
export const UNKNOWN_WORDS: Readonly<Record<UnknownReason, string>> = {
  "unknown-calendar": "there is no such calendar",
  "never-synced": "never synced",
  lost: "access is lost",
  paused: "paused",
  slowed: "refreshed rarely, because it keeps failing",
  stale: "the copy is stale",
  changing: "it was published again and again while it was read",
  "older-than-asked": "the copy is older than --max-age allows",
  "unreadable-event": "an event cannot be read",
  "too-much-to-expand": "a series has too many occurrences",
};
