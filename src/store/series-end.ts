/** Stands for "no end": later than any moment a Date can name. */
export const OPEN_ENDED_MS = 8_640_000_000_000_000;

const DAY_MS = 86_400_000;
/** Time zones and summer time shift an occurrence by less than this against its rule. */
const ZONE_MARGIN_MS = 2 * DAY_MS;

/**
 * The last moment at which any occurrence of a series can end, never too early: `OPEN_ENDED_MS`
 * wherever a bound is not plain arithmetic. Reads skip a series that ended before their range, so
 * an early bound would hide events and a late one only costs an expansion.
 */
export function lastPossibleEnd(
  recurrence: readonly string[],
  first: { readonly startMs: number; readonly durationMs: number },
): number {
  let lastStartMs = first.startMs;
  for (const line of recurrence) {
    lastStartMs = Math.max(lastStartMs, lastStartOfLine(line, first.startMs));
    if (lastStartMs >= OPEN_ENDED_MS) return OPEN_ENDED_MS;
  }
  return Math.min(lastStartMs + first.durationMs + ZONE_MARGIN_MS, OPEN_ENDED_MS);
}

/** The first moment at which any occurrence can begin, never too late: an RDATE may lie before the start. */
export function firstPossibleStart(recurrence: readonly string[], startMs: number): number {
  const dates = recurrence
    .filter((line) => /^RDATE[;:]/i.test(line))
    .flatMap((line) => line.slice(line.indexOf(":") + 1).split(","));
  let firstMs = startMs;
  for (const date of dates) {
    // Of a period only where it begins counts.
    const moment = icalMoment(date.split("/")[0] ?? "") ?? -OPEN_ENDED_MS;
    firstMs = Math.min(firstMs, moment - ZONE_MARGIN_MS);
  }
  return Math.max(firstMs, -OPEN_ENDED_MS);
}

function lastStartOfLine(line: string, startMs: number): number {
  const [, name, value] = /^([A-Za-z]+)[^:]*:(.*)$/s.exec(line) ?? [];
  switch ((name ?? "").toUpperCase()) {
    case "EXDATE":
    case "EXRULE":
      return startMs;
    case "RDATE":
      return lastDate(value ?? "");
    case "RRULE":
      return lastStartOfRule(value ?? "", startMs);
    default:
      return OPEN_ENDED_MS;
  }
}

function lastDate(list: string): number {
  let lastMs = -OPEN_ENDED_MS;
  // Not spread into one call: a line may name more dates than a call takes arguments.
  for (const date of list.split(",")) lastMs = Math.max(lastMs, icalMoment(date) ?? OPEN_ENDED_MS);
  return lastMs;
}

function lastStartOfRule(rule: string, startMs: number): number {
  const parts = new Map<string, string>();
  for (const part of rule.split(";")) {
    const [key = "", value = ""] = part.split("=");
    parts.set(key.trim().toUpperCase(), value.trim().toUpperCase());
  }
  const until = parts.get("UNTIL");
  if (until !== undefined) return icalMoment(until) ?? OPEN_ENDED_MS;
  const count = positiveInteger(parts.get("COUNT"));
  const periodMs = longestPeriod(parts, startMs);
  const interval = positiveInteger(parts.get("INTERVAL") ?? "1");
  if (count === undefined || periodMs === undefined || interval === undefined) return OPEN_ENDED_MS;
  return Math.min(startMs + (count + 1) * interval * periodMs, OPEN_ENDED_MS);
}

/** The longest a period of the rule lasts, where each is sure to hold an occurrence; else undefined. */
function longestPeriod(parts: ReadonlyMap<string, string>, startMs: number): number | undefined {
  const narrowing = [...parts.keys()].filter((key) => key.startsWith("BY"));
  const frequency = parts.get("FREQ");
  if (frequency === "WEEKLY" && narrowing.every((key) => key === "BYDAY")) return 7 * DAY_MS;
  if (narrowing.length > 0) return undefined;
  if (frequency === "DAILY") return DAY_MS;
  // From the 29th on some months have no such day (and the zone may make today's 28th a 29th).
  if (new Date(startMs).getUTCDate() > 27) return undefined;
  if (frequency === "MONTHLY") return 31 * DAY_MS;
  return frequency === "YEARLY" ? 366 * DAY_MS : undefined;
}

function positiveInteger(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}

/** `20260325`, `20260325T130000` or `…Z` as UTC; undefined for anything else, periods included. */
function icalMoment(text: string): number | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)Z?)?$/.exec(text.trim());
  if (match === null) return undefined;
  const [, year, month, day, ...time] = match;
  const isDate = time[0] === undefined;
  // A date alone means any moment of that day.
  const clock = isDate ? "23:59:59" : time.join(":");
  const moment = Date.parse(`${year}-${month}-${day}T${clock}Z`);
  return Number.isNaN(moment) ? undefined : moment;
}
