/** Wall-clock arithmetic in named time zones, on the machine's own zone data (Intl). */

const formats = new Map<string, Intl.DateTimeFormat>();
const MINUTE_MS = 60_000;

/** Whether this is a time zone the machine knows. */
export function isTimeZone(zone: string): boolean {
  try {
    formatOf(zone);
    return true;
  } catch {
    return false;
  }
}

/** What a zone's clock shows at a moment, written as if it were UTC. */
export function utcToWallMs(utcMs: number, zone: string): number {
  if (zone === "UTC") return utcMs;
  const parts: Record<string, number> = {};
  for (const part of formatOf(zone).formatToParts(utcMs)) parts[part.type] = Number(part.value);
  const wallMs = Date.UTC(
    parts["year"] ?? 1970,
    (parts["month"] ?? 1) - 1,
    parts["day"] ?? 1,
    parts["hour"] ?? 0,
    parts["minute"] ?? 0,
    parts["second"] ?? 0,
  );
  return wallMs + (((utcMs % 1000) + 1000) % 1000);
}

/** The moment at which a zone's clock shows this; inside a gap the later reading, in a repeated hour the first one. */
export function wallToUtcMs(wallMs: number, zone: string): number {
  if (zone === "UTC") return wallMs;
  const before = utcToWallMs(wallMs - 86_400_000, zone) - (wallMs - 86_400_000);
  const after = utcToWallMs(wallMs + 86_400_000, zone) - (wallMs + 86_400_000);
  const first = wallMs - before;
  if (before === after || utcToWallMs(first, zone) === wallMs) return first;
  const second = wallMs - after;
  return utcToWallMs(second, zone) === wallMs ? second : first;
}

/** RFC 3339 with the zone's offset, as Google writes a `dateTime`: `2024-01-09T08:00:00-08:00`. */
export function formatDateTime(utcMs: number, zone: string): string {
  const wallMs = utcToWallMs(utcMs, zone);
  const text = new Date(wallMs).toISOString().slice(0, 19);
  const offsetMinutes = Math.round((wallMs - utcMs) / MINUTE_MS);
  if (offsetMinutes === 0) return `${text}Z`;
  const absolute = Math.abs(offsetMinutes);
  const hours = String(Math.floor(absolute / 60)).padStart(2, "0");
  const minutes = String(absolute % 60).padStart(2, "0");
  return `${text}${offsetMinutes < 0 ? "-" : "+"}${hours}:${minutes}`;
}

function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    formats.set(zone, format);
  }
  return format;
}
