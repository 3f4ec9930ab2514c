import type { EpochMs } from "../core/clock.ts";

/** Longer than Google ever asks for: a mistaken year must not silence a calendar for good. */
const LONGEST_MS = 24 * 3_600_000;

/** `Retry-After` in seconds or as an HTTP date; undefined when absent or unreadable. Never negative. */
export function parseRetryAfter(header: string | null, now: EpochMs): number | undefined {
  const text = header?.trim() ?? "";
  if (text === "") return undefined;
  const waitMs = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(0, waitMs), LONGEST_MS);
}
