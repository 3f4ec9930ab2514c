/**
 * What the clocks of a time zone show, on the machine's own zone data (Intl).
 *
 * State: per zone, the offsets of the stretches of time that were asked about; bounded, and rebuilt
 * when lost. Asking Intl costs 2 µs and more each time, which a thousand series a second cannot pay.
 */

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** Offsets are looked up per stretch; each day of it is sampled, since Ramadan's clocks turn twice in a month. */
const STRETCH_DAYS = 16;
const STRETCH_MS = STRETCH_DAYS * DAY_MS;
const MAX_STRETCHES = 4_000;
const MAX_ZONES = 1_000;

/** One zone's clock. Wall times are milliseconds as if the wall clock were UTC. */
export interface ZoneClock {
  toWallMs(utcMs: number): number;
  /** In a gap the reading by the offset before it (RFC 5545, 3.3.5), in a repeated hour the first one. */
  toUtcMs(wallMs: number): number;
}

interface Stretch {
  /** Up to `changesAtMs` the first offset holds, from then on the second. */
  readonly pieces: readonly { readonly fromMs: number; readonly offsetMs: number }[];
}

const UTC_CLOCK: ZoneClock = { toWallMs: (ms) => ms, toUtcMs: (ms) => ms };
const clocks = new Map<string, ZoneClock>([["UTC", UTC_CLOCK]]);

/** The clock of a zone; undefined when the machine knows no such zone. */
export function zoneClock(zone: string): ZoneClock | undefined {
  const known = clocks.get(zone);
  if (known !== undefined) return known;
  let format: Intl.DateTimeFormat;
  try {
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
  } catch {
    // RangeError: whoever asked says that it is unknown.
    return undefined;
  }
  // Names come from strangers, in any spelling (`europe/PARIS`): no more of them than this are kept.
  if (clocks.size >= MAX_ZONES) clocks.clear();
  const clock = createZoneClock(format);
  clocks.set(zone, clock);
  return clock;
}

function createZoneClock(format: Intl.DateTimeFormat): ZoneClock {
  const stretches = new Map<number, Stretch>();
  const offsetAt = (utcMs: number): number => {
    const index = Math.floor(utcMs / STRETCH_MS);
    let stretch = stretches.get(index);
    if (stretch === undefined) {
      if (stretches.size >= MAX_STRETCHES) stretches.clear();
      stretch = readStretch(format, index * STRETCH_MS);
      stretches.set(index, stretch);
    }
    const { pieces } = stretch;
    for (let at = pieces.length - 1; at > 0; at--) {
      const piece = pieces[at];
      if (piece !== undefined && utcMs >= piece.fromMs) return piece.offsetMs;
    }
    return pieces[0]?.offsetMs ?? 0;
  };
  return {
    toWallMs: (utcMs) => utcMs + offsetAt(utcMs),
    toUtcMs: (wallMs) => {
      // No clock is ever turned twice within a day, nor by more than a day.
      const before = offsetAt(wallMs - DAY_MS);
      const after = offsetAt(wallMs + DAY_MS);
      const first = wallMs - before;
      if (before === after || first + offsetAt(first) === wallMs) return first;
      const second = wallMs - after;
      return second + offsetAt(second) === wallMs ? second : first;
    },
  };
}

function readStretch(format: Intl.DateTimeFormat, startMs: number): Stretch {
  let offsetMs = readOffset(format, startMs);
  const pieces = [{ fromMs: startMs, offsetMs }];
  for (let day = 1; day <= STRETCH_DAYS; day++) {
    const atMs = startMs + day * DAY_MS;
    const next = readOffset(format, atMs);
    if (next === offsetMs) continue;
    pieces.push({ fromMs: findChange(format, atMs - DAY_MS, atMs), offsetMs: next });
    offsetMs = next;
  }
  return { pieces };
}

/** The first minute with the offset of `toMs`; zones change on whole minutes of UTC, or did not in living memory. */
function findChange(format: Intl.DateTimeFormat, fromMs: number, toMs: number): number {
  const target = readOffset(format, toMs);
  let before = fromMs / MINUTE_MS;
  let after = toMs / MINUTE_MS;
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (readOffset(format, middle * MINUTE_MS) === target) after = middle;
    else before = middle;
  }
  return after * MINUTE_MS;
}

function readOffset(format: Intl.DateTimeFormat, utcMs: number): number {
  const parts: Record<string, number> = {};
  for (const part of format.formatToParts(utcMs)) parts[part.type] = Number(part.value);
  const wallMs = Date.UTC(
    parts["year"] ?? 1970,
    (parts["month"] ?? 1) - 1,
    parts["day"] ?? 1,
    parts["hour"] ?? 0,
    parts["minute"] ?? 0,
    parts["second"] ?? 0,
  );
  return wallMs - utcMs;
}
