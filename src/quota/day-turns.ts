/** Where Google's day turns unless a setting says otherwise. */
export const DAY_TIME_ZONE = "America/Los_Angeles";

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

/** The day that `atMs` is in, and its turns after that: midnights of `timeZone`, ascending, epoch milliseconds. */
export function dayTurns(
  atMs: number,
  options: { readonly timeZone: string; readonly count: number },
): { readonly startedAt: number; readonly turns: readonly number[] } {
  const startedAt = midnightBefore(atMs, options.timeZone);
  const turns: number[] = [];
  let last = startedAt;
  while (turns.length < options.count) {
    // 26 hours after a midnight is inside the next day, whether that one has 23, 24 or 25 hours.
    last = midnightBefore(last + DAY_MS + 2 * HOUR_MS, options.timeZone);
    turns.push(last);
  }
  return { startedAt, turns };
}

function midnightBefore(atMs: number, timeZone: string): number {
  const wall = wallClock(atMs, timeZone);
  const sinceMidnightMs = wall - Math.floor(wall / DAY_MS) * DAY_MS;
  const guess = atMs - sinceMidnightMs;
  // A clock change between midnight and now shifts the guess by its size.
  const midnightWall = Math.floor(wall / DAY_MS) * DAY_MS;
  const corrected = guess - (wallClock(guess, timeZone) - midnightWall);
  return Math.floor(corrected);
}

/** The wall clock of a zone, as if it were UTC. */
function wallClock(atMs: number, timeZone: string): number {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  }).formatToParts(atMs);
  const part = (type: string): number =>
    Number(parts.find((one) => one.type === type)?.value ?? "0");
  const seconds = Date.UTC(
    part("year"),
    part("month") - 1,
    part("day"),
    part("hour"),
    part("minute"),
    part("second"),
  );
  return seconds + (((atMs % 1_000) + 1_000) % 1_000);
}
