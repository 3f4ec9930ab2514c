import { parseCompact, RuleUnreadable } from "./parse-rule.ts";
import { zoneClock, type ZoneClock } from "./zone-clock.ts";

/** One value of an RDATE or EXDATE line. */
export interface ListedDate {
  /** A date without a time of day. */
  readonly isDate: boolean;
  readonly utcMs: number;
  /** As the clock of the line shows it. */
  readonly wallMs: number;
  /** Of a period (RFC 5545, 3.3.9): it lasts as long as it says, not as long as its series. */
  readonly durationMs: number | undefined;
}

/** Read an RDATE or EXDATE line, its times by the zone that it names or the series' own. Throws `RuleUnreadable`. */
export function readDateList(line: string, seriesClock: ZoneClock): readonly ListedDate[] {
  const colon = line.indexOf(":");
  const named = /;TZID="?([^;:"]+)"?/i.exec(line.slice(0, colon))?.[1];
  const clock = named === undefined ? seriesClock : zoneClock(named);
  if (clock === undefined) throw new RuleUnreadable("a time zone that is not known here");
  return line
    .slice(colon + 1)
    .split(",")
    .filter((value) => value.trim() !== "")
    .map((value) => readListed(value, clock));
}

function readListed(value: string, clock: ZoneClock): ListedDate {
  const [startText = "", endText] = value.split("/");
  const start = parseCompact(startText);
  if (start === undefined) throw new RuleUnreadable("a date that is none");
  const isUtc = start.form === "utc";
  const utcMs = isUtc ? start.ms : clock.toUtcMs(start.ms);
  return {
    isDate: start.form === "date",
    utcMs,
    wallMs: isUtc ? clock.toWallMs(start.ms) : start.ms,
    durationMs: endText === undefined ? undefined : readDuration(endText, utcMs, clock),
  };
}

function readDuration(text: string, startMs: number, clock: ZoneClock): number {
  const end = parseCompact(text);
  if (end !== undefined) {
    return Math.max(0, (end.form === "utc" ? end.ms : clock.toUtcMs(end.ms)) - startMs);
  }
  const match = /^\+?P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$/i.exec(
    text.trim(),
  );
  if (match === null) throw new RuleUnreadable("a period without an end");
  const [weeks = 0, days = 0, hours = 0, minutes = 0, seconds = 0] = match
    .slice(1)
    .map((part: string | undefined) => Number(part ?? "0"));
  return ((((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000;
}
