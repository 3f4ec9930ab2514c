import { createWorld, type Calendar, type World } from "../../src/simulator/world.ts";
import { exceptionsOf, instancesOf } from "../../src/simulator/instances.ts";
import { createRandom } from "../../src/simulator/random.ts";
import { spanOf } from "../../src/simulator/event-span.ts";
import type { EventResource } from "../../src/simulator/wire-resources.ts";
import { currentVersion } from "../../src/simulator/world.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import { expandRange } from "../../src/read/expand-range.ts";
import { instanceOf } from "../../src/read/instance-of.ts";
import { createTurns } from "../../src/read/turns.ts";
import { zoneClock } from "../../src/read/zone-clock.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Clocks that turn in March, at midnight, by half an hour, for Ramadan, on either side of the equator, or never. */
const ZONES = [
  "Europe/Zurich",
  "America/New_York",
  "America/Los_Angeles",
  "Australia/Lord_Howe",
  "Africa/Casablanca",
  "America/Sao_Paulo",
  "Pacific/Auckland",
  "Asia/Beirut",
  "America/St_Johns",
  "Asia/Kolkata",
] as const;

const WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

/** One series with its exceptions in a calendar of its own, and a window to look at. */
export interface TruthCase {
  readonly name: string;
  readonly timeZone: string;
  readonly events: readonly GoogleEvent[];
  readonly fromMs: number;
  readonly toMs: number;
}

/** What two calculations say of a case, where they differ. */
export interface Difference {
  readonly case: TruthCase;
  readonly reader: readonly string[];
  readonly simulator: readonly string[];
}

interface Random {
  readonly below: (n: number) => number;
  readonly pick: <T>(from: readonly T[]) => T;
  readonly chance: (part: number) => boolean;
  /** One to `most` of them, in their order; none of none. */
  readonly some: <T>(from: readonly T[], most: number) => T[];
}

function randomOf(seed: number): Random {
  const stream = createRandom(seed);
  const pick = <T>(from: readonly T[]): T => stream.pick(from);
  return {
    below: (n) => stream.integer(n),
    pick,
    chance: (part) => stream.chance(part),
    some: (from, most) => {
      if (from.length === 0) return [];
      const picked = new Set(
        Array.from({ length: 1 + stream.integer(most) }, () => stream.pick(from)),
      );
      return from.filter((one) => picked.has(one));
    },
  };
}

const MONTHS = Array.from({ length: 12 }, (_, n) => n + 1);
const MONTH_DAYS = [...Array.from({ length: 31 }, (_, n) => n + 1), -1, -2, -3];

/** Ways to narrow a rule, by frequency; "" leaves it as it is. */
const NARROWING: Readonly<Record<string, readonly ((random: Random) => string)[]>> = {
  HOURLY: [() => ""],
  DAILY: [
    () => "",
    () => "",
    () => "",
    ({ some }) => `;BYDAY=${some(WEEKDAYS, 5).join(",")}`,
    ({ some }) => `;BYMONTH=${some(MONTHS, 8).join(",")}`,
  ],
  WEEKLY: [
    () => "",
    ({ some }) => `;BYDAY=${some(WEEKDAYS, 5).join(",")}`,
    ({ some, pick }) => `;BYDAY=${some(WEEKDAYS, 5).join(",")};WKST=${pick(["SU", "MO"])}`,
  ],
  MONTHLY: [
    () => "",
    ({ some }) => `;BYMONTHDAY=${some(MONTH_DAYS, 4).join(",")}`,
    ({ pick }) => `;BYDAY=${pick([1, 2, 3, 4, -1, -2])}${pick(WEEKDAYS)}`,
    ({ pick }) => `;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=${pick([1, 2, -1, -2])}`,
    ({ pick }) => `;BYDAY=${pick(WEEKDAYS)};BYMONTHDAY=8,9,10,11,12,13,14`,
  ],
  YEARLY: [
    () => "",
    ({ some }) => `;BYMONTH=${some(MONTHS, 4).join(",")}`,
    ({ pick }) => `;BYMONTH=${pick(MONTHS)};BYDAY=${pick([1, 2, 3, -1])}${pick(WEEKDAYS)}`,
    // Not from the month's end: ical.js takes the length of another month (read-third-calculation.test.ts).
    ({ some }) =>
      `;BYMONTH=${some(MONTHS, 3).join(",")};BYMONTHDAY=${some(MONTH_DAYS.slice(0, 31), 3).join(",")}`,
  ],
};

function generateRule(random: Random, isAllDay: boolean): string {
  const { below, pick } = random;
  const byDays = ["DAILY", "DAILY", "WEEKLY", "WEEKLY", "MONTHLY", "MONTHLY", "YEARLY"];
  const frequency = pick(isAllDay ? byDays : [...byDays, "HOURLY"]);
  const intervals: Readonly<Record<string, number>> = {
    HOURLY: 5 + below(40),
    YEARLY: 1 + below(2),
  };
  const interval = intervals[frequency] ?? 1 + below(4);
  const narrowing = pick(NARROWING[frequency] ?? []);
  return `FREQ=${frequency}${interval === 1 ? "" : `;INTERVAL=${interval}`}${narrowing(random)}`;
}

function compact(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

/** A moment near which the clocks of half of the zones turn. */
function nearClockChange(random: Random): number {
  const year = 2016 + random.below(12);
  const [month, day] = random.pick([
    [3, 8],
    [3, 25],
    [4, 1],
    [9, 24],
    [10, 3],
    [10, 18],
    [10, 25],
    [11, 1],
    [2, 15],
    [5, 10],
  ] as const);
  return Date.UTC(year, month - 1, day) + random.below(10 * 24) * HOUR_MS;
}

/** A case made from a seed. */
export function generateCase(seed: number): TruthCase {
  const random = randomOf(seed);
  const { below, pick, chance } = random;
  const timeZone = pick(ZONES);
  const isAllDay = chance(0.25);
  const zone = chance(0.7) ? timeZone : pick(ZONES);
  const centreMs = nearClockChange(random);
  const fromMs = centreMs - below(20 * 24) * HOUR_MS - below(60) * 60_000;
  const toMs = fromMs + (1 + below(60 * 24)) * HOUR_MS;
  const startDay = new Date(Math.floor((fromMs - below(3_000) * DAY_MS) / DAY_MS) * DAY_MS);
  const date = startDay.toISOString().slice(0, 10);
  // Often in the hours that clocks skip or repeat.
  const hour = chance(0.4) ? below(4) : below(24);
  const minute = pick([0, 0, 15, 30, 45]);
  const days = 1 + below(4);
  const durationMs = chance(0.1) ? DAY_MS + below(48) * HOUR_MS : (1 + below(32)) * 15 * 60_000;
  const startWallMs = startDay.getTime() + hour * HOUR_MS + minute * 60_000;
  const master: EventResource = isAllDay
    ? {
        start: { date },
        end: { date: new Date(startDay.getTime() + days * DAY_MS).toISOString().slice(0, 10) },
      }
    : timedMaster({ startWallMs, durationMs, zone });
  const recurrence = [`RRULE:${generateRule(random, isAllDay)}${generateEnd()}`];
  if (chance(0.08)) recurrence.push(`RRULE:${generateRule(random, isAllDay)}`);
  const events = withExceptions();
  return {
    name: `seed ${seed}: ${zone}${isAllDay ? " all day" : ` ${pad(hour)}:${pad(minute)}`} ${date} ${recurrence.join(" ")}`,
    timeZone,
    events,
    fromMs,
    toMs,
  };

  function generateEnd(): string {
    if (chance(0.25)) return `;COUNT=${1 + below(chance(0.3) ? 3_000 : 400)}`;
    if (!chance(0.4)) return "";
    const untilMs = fromMs + below(80 * 24) * HOUR_MS - 10 * DAY_MS;
    if (isAllDay) return `;UNTIL=${compact(untilMs).slice(0, 8)}`;
    return `;UNTIL=${compact(untilMs)}${chance(0.8) ? "Z" : ""}`;
  }

  function withExceptions(): readonly GoogleEvent[] {
    const plain = { ...master, id: "series", status: "confirmed", recurrence };
    const calendar = calendarOf({ timeZone, events: [plain] });
    const known = calendar.eventsById.get("series");
    const around = { fromMs: fromMs - 20 * DAY_MS, toMs: toMs + 20 * DAY_MS };
    const instances = known === undefined ? [] : [...instancesOf(calendar, known, around)];
    if (chance(0.4)) {
      const dates = random.some(instances, 3).map((one) => dateIn(one.start));
      if (instances.length > 0)
        recurrence.push(`EXDATE${isAllDay ? ";VALUE=DATE" : ""}:${dates.join(",")}`);
    }
    if (chance(0.25)) {
      const extraMs = fromMs + below(Math.ceil((toMs - fromMs) / HOUR_MS)) * HOUR_MS;
      if (isAllDay) recurrence.push(`RDATE;VALUE=DATE:${compact(extraMs).slice(0, 8)}`);
      else recurrence.push(`RDATE;TZID=${zone}:${compact(extraMs)}`);
    }
    const exceptions = instances.length === 0 ? [] : random.some(instances, 5).map(change);
    return [plain, ...exceptions.filter((one) => one !== undefined)] as unknown as GoogleEvent[];
  }

  function change(instance: EventResource): EventResource | undefined {
    if (chance(0.2)) return undefined;
    const { id, recurringEventId, originalStartTime, start, end } = instance;
    const identity = { id, recurringEventId, originalStartTime } as EventResource;
    if (chance(0.3)) return { ...identity, status: "cancelled" };
    // Near by, or from outside of the window into it and the other way round.
    const byMs = (chance(0.5) ? below(48) - 24 : below(60 * 24) - 30 * 24) * HOUR_MS;
    const shift = (time: EventResource["start"]): EventResource["start"] => {
      if (typeof time?.date === "string") {
        const movedMs = Date.parse(time.date) + Math.round(byMs / DAY_MS) * DAY_MS;
        return { date: new Date(movedMs).toISOString().slice(0, 10) };
      }
      const movedMs = Date.parse(time?.dateTime ?? "") + byMs;
      return { dateTime: new Date(movedMs).toISOString(), timeZone: zone };
    };
    return {
      ...identity,
      status: "confirmed",
      start: shift(start),
      end: shift(end),
    } as EventResource;
  }
}

function local(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19);
}

function timedMaster(about: {
  readonly startWallMs: number;
  readonly durationMs: number;
  readonly zone: string;
}): EventResource {
  // Google gives the offset with the time: worked out by the simulator's clock, not by the reader's.
  const span = spanOf(
    {
      start: { dateTime: local(about.startWallMs), timeZone: about.zone },
      end: { dateTime: local(about.startWallMs), timeZone: about.zone },
    },
    "UTC",
  );
  const startMs = span?.startMs ?? 0;
  return {
    start: { dateTime: new Date(startMs).toISOString(), timeZone: about.zone },
    end: { dateTime: new Date(startMs + about.durationMs).toISOString(), timeZone: about.zone },
  };
}

function dateIn(time: EventResource["start"]): string {
  if (typeof time?.date === "string") return time.date.replaceAll("-", "");
  return `${compact(Date.parse(time?.dateTime ?? ""))}Z`;
}

/** A calendar of a simulator's world, holding these events. */
export function calendarOf(about: {
  readonly timeZone: string;
  readonly events: readonly unknown[];
}): Calendar {
  const world: World = createWorld(
    { secret: "truth", keepsHistory: false },
    { clock: systemClock },
  );
  const calendar = world.addCalendar({
    id: "truth@example.test",
    summary: "",
    timeZone: about.timeZone,
    ownerEmail: "truth@example.test",
  });
  for (const event of about.events) world.putEvent(calendar, event as EventResource);
  return calendar;
}

/** What the simulator (ical.js) says takes place, each as `id start end`. */
export function simulatorSays(one: TruthCase): readonly string[] {
  const calendar = calendarOf(one);
  const range = { fromMs: one.fromMs, toMs: one.toMs };
  const found: string[] = [];
  const add = (resource: EventResource): void => {
    const span = spanOf(resource, one.timeZone);
    if (span === undefined || resource.status === "cancelled") return;
    if (span.startMs >= one.toMs || span.endMs <= one.fromMs) return;
    found.push(line(resource.id ?? "", span.startMs, span.endMs));
  };
  for (const history of calendar.events.items) {
    const { resource } = currentVersion(history);
    if (resource.recurringEventId !== undefined) continue;
    if (resource.recurrence === undefined) {
      add(resource);
      continue;
    }
    for (const instance of instancesOf(calendar, history, range)) add(instance);
    for (const exception of exceptionsOf(calendar, history.id)) {
      add(currentVersion(exception).resource);
    }
  }
  return found.toSorted();
}

function monotonicMs(): number {
  return performance.now();
}

/** What the reader says takes place, in the same form; what it calls unknown is said as such. */
export async function readerSays(one: TruthCase): Promise<readonly string[]> {
  const clock = zoneClock(one.timeZone);
  if (clock === undefined) throw new Error(one.timeZone);
  const expansion = await expandRange(
    one.events,
    {
      window: { fromMs: one.fromMs, toMs: one.toMs },
      clock,
      isWanted: ({ status }) => status !== "cancelled",
    },
    createTurns(monotonicMs),
  );
  const unknown = expansion.unknown.map(
    ({ reason, eventIds }) => `${reason} ${eventIds.join(" ")}`,
  );
  const found = expansion.takings
    .map((taking) => instanceOf(taking))
    .map(({ event, startMs, endMs }) => line(event.id, startMs, endMs));
  return [...unknown, ...found].toSorted();
}

function line(id: string, startMs: number, endMs: number): string {
  return `${id} ${new Date(startMs).toISOString()} ${new Date(endMs).toISOString()}`;
}

/** Hold the two against each other; returns where they differ and how much was compared. */
export async function compareCases(
  cases: Iterable<TruthCase>,
): Promise<{ differences: Difference[]; compared: number; instances: number; exceptions: number }> {
  const differences: Difference[] = [];
  const sums = { compared: 0, instances: 0, exceptions: 0 };
  for (const one of cases) {
    const reader = await readerSays(one);
    const simulator = simulatorSays(one);
    sums.compared += 1;
    sums.instances += simulator.length;
    sums.exceptions += one.events.filter((event) => event.recurringEventId != null).length;
    if (reader.join("\n") !== simulator.join("\n")) {
      differences.push({ case: one, reader, simulator });
    }
  }
  return { differences, ...sums };
}
