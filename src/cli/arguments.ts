import { InvalidArgumentError } from "commander";
import { epochMs, type EpochMs } from "../core/clock.ts";
import { calendarId, type CalendarId } from "../core/ids.ts";

/** A whole number within bounds, for an option. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(
        `It should be a whole number from ${String(min)} to ${String(max)}.`,
      );
    }
    return value;
  };
}

/** A number from 0 that may have a fraction, for a rate. */
export function rate(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0 || value > 100_000) {
    throw new InvalidArgumentError("It should be a number from 0 to 100000.");
  }
  return value;
}

/** Ballast's own id of a calendar. A Google id occurs once per account, so it names no row. */
export function calendarIdArgument(text: string): CalendarId {
  if (!/^cal_[0-9a-z]{8,64}$/.test(text)) {
    throw new InvalidArgumentError(
      "It should be Ballast's own id, cal_…, as `ballast calendars` lists it.",
    );
  }
  return calendarId(text);
}

/** A moment: `2026-01-31`, or with a time and an offset. */
export function moment(text: string): EpochMs {
  const value = /^\d{4}-\d{2}-\d{2}(?:T[\d:.]+(?:Z|[+-]\d{2}:\d{2}))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN;
  if (Number.isNaN(value)) {
    throw new InvalidArgumentError("It should be like 2026-01-31 or 2026-01-31T09:00:00Z.");
  }
  return epochMs(value);
}

/** A length of time, `90s`, `5m`, `2h` or `1d`, in milliseconds. */
export function duration(text: string): number {
  const [, digits = "", unit = ""] = /^(\d{1,7})([smhd])$/.exec(text) ?? [];
  const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[unit];
  if (unitMs === undefined) throw new InvalidArgumentError("It should be like 90s, 5m, 2h or 1d.");
  return Number(digits) * unitMs;
}

/** A name an adopter gives: not empty, on one line, not overlong. */
export function nameArgument(text: string): string {
  if (!/^[^\p{Cc}]{1,256}$/u.test(text) || text.trim() !== text) {
    throw new InvalidArgumentError(
      "It should be 1 to 256 characters on one line, no spaces around.",
    );
  }
  return text;
}
