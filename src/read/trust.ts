import {
  QuestionRefused,
  type TimeRange,
  type UnknownReason,
  type UnknownTime,
} from "../core/calendar-reads.ts";
import type { CalendarFacts, Freshness } from "../core/event-store.ts";
import type { TenantId } from "../core/ids.ts";
import { isYoungEnough } from "./await-refresh.ts";
import { DAY_MS } from "./civil-days.ts";
import { zoneClock } from "./zone-clock.ts";

/** The longest range that one question may cover. */
export const MAX_RANGE_MS = 400 * DAY_MS;

/**
 * Why a copy says nothing that can be relied on; undefined when it can (I11). An age that the asker
 * allows replaces our own idea of fresh, but nothing makes up for access lost or for no copy at all.
 */
export function whyDistrusted(
  freshness: Freshness,
  { maxAgeMs, waitedMs }: { readonly maxAgeMs: number | undefined; readonly waitedMs: number },
): UnknownReason | undefined {
  if (freshness.generation === 0 || freshness.state === "never") return "never-synced";
  if (freshness.state === "lost") return "lost";
  if (maxAgeMs !== undefined) {
    return isYoungEnough(freshness, maxAgeMs, waitedMs) ? undefined : "older-than-asked";
  }
  return freshness.state === "fresh" ? undefined : freshness.state;
}

/** Unknown from beginning to end. */
export function allUnknown(
  range: TimeRange,
  reason: UnknownReason,
  eventIds: readonly string[] = [],
): UnknownTime {
  return { from: range.from, to: range.to, reason, eventIds };
}

/** Refuses what cannot be answered, before anything is read. */
export function requireAnswerable(
  question: TimeRange & { readonly timeZone?: string | undefined },
): void {
  const { from, to, timeZone } = question;
  if (!(to > from))
    throw new QuestionRefused("range-empty", "The range should end after it begins.");
  if (to - from > MAX_RANGE_MS) {
    const days = String(MAX_RANGE_MS / DAY_MS);
    throw new QuestionRefused("range-too-long", `The range should be at most ${days} days long.`);
  }
  if (timeZone !== undefined && zoneClock(timeZone) === undefined) {
    throw new QuestionRefused(
      "bad-time-zone",
      `${timeZone.slice(0, 64)} is not a time zone; it should be like Europe/Zurich.`,
    );
  }
}

/** A tenant sees its own calendars; another's are not there. */
export function ofTenant(
  facts: CalendarFacts | undefined,
  tenantId: TenantId | undefined,
): CalendarFacts | undefined {
  return tenantId === undefined || facts?.tenantId === tenantId ? facts : undefined;
}
