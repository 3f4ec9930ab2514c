import type { Random } from "./random.ts";
import type { EventResource } from "./wire-resources.ts";
import type { Calendar } from "./world.ts";
import { formatDateTime } from "./zone-time.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const TITLES = [
  "Planning",
  "Design review",
  "Stand-up",
  "Interview",
  "Lunch",
  "Dentist",
  "Führungskreis",
  "1:1",
  "Déjeuner d’équipe",
  "Retro 🚀",
];
const PLACES = ["Room 4", "Café Central", "Video call", "Zürich HB", "Lobby"];
const RULES = [
  "RRULE:FREQ=DAILY;COUNT=20",
  "RRULE:FREQ=WEEKLY;BYDAY=MO,WE,FR",
  "RRULE:FREQ=WEEKLY;INTERVAL=2",
  "RRULE:FREQ=MONTHLY;BYMONTHDAY=15;COUNT=24",
  "RRULE:FREQ=MONTHLY;BYDAY=1TU",
  "RRULE:FREQ=YEARLY",
];

/** Make up what a client would send to insert one event: a realistic mix of kinds, near `anchorMs`. */
export function makeEvent(calendar: Calendar, random: Random, anchorMs: number): EventResource {
  const kind = random.next();
  const startMs =
    Math.floor(anchorMs / DAY_MS) * DAY_MS +
    (random.integer(120) - 45) * DAY_MS +
    (7 + random.integer(12)) * HOUR_MS +
    random.integer(4) * (HOUR_MS / 4);
  const times =
    kind < 0.15 ? wholeDays(startMs, random) : hours(startMs, calendar.timeZone, random);
  const isSeries = kind > 0.7;
  return {
    summary: `${random.pick(TITLES)} ${random.integer(1000)}`,
    ...times,
    ...(isSeries ? { recurrence: [random.pick(RULES)] } : {}),
    ...(random.chance(0.4) ? { location: random.pick(PLACES) } : {}),
    ...(random.chance(0.3) ? { description: `Notes ${random.text(40)}` } : {}),
    ...(random.chance(0.15) ? { transparency: "transparent" } : {}),
    ...(random.chance(0.1) ? { status: "tentative" } : {}),
    ...(random.chance(0.05) ? { visibility: "private" } : {}),
    ...(random.chance(0.3) ? { attendees: makeAttendees(calendar, random) } : {}),
    ...specialType(calendar, isSeries || kind < 0.15, random),
  };
}

/** Times of an event moved somewhere else, keeping its form. */
export function moveTimes(event: EventResource, calendar: Calendar, random: Random): EventResource {
  const byMs = (random.integer(14) - 7 || 1) * DAY_MS;
  if (typeof event.start?.date === "string") {
    const shift = (day: string | null | undefined): string =>
      new Date(Date.parse(`${day ?? "2026-01-01"}T00:00:00Z`) + byMs).toISOString().slice(0, 10);
    return { start: { date: shift(event.start.date) }, end: { date: shift(event.end?.date) } };
  }
  const startMs = Date.parse(event.start?.dateTime ?? "") + byMs;
  return hours(startMs, event.start?.timeZone ?? calendar.timeZone, random);
}

function date(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10);
}

function wholeDays(startMs: number, random: Random): EventResource {
  return {
    start: { date: date(startMs) },
    end: { date: date(startMs + (1 + random.integer(3)) * DAY_MS) },
  };
}

function hours(startMs: number, zone: string, random: Random): EventResource {
  const endMs = startMs + (1 + random.integer(6)) * (HOUR_MS / 4);
  return {
    start: { dateTime: formatDateTime(startMs, zone), timeZone: zone },
    end: { dateTime: formatDateTime(endMs, zone), timeZone: zone },
  };
}

function makeAttendees(
  calendar: Calendar,
  random: Random,
): NonNullable<EventResource["attendees"]> {
  const others = Array.from({ length: 1 + random.integer(3) }, () => ({
    email: `guest${random.integer(50)}@example.org`,
    responseStatus: random.pick(["accepted", "declined", "tentative", "needsAction"]),
  }));
  const self = {
    email: calendar.id,
    self: true,
    responseStatus: random.pick(["accepted", "accepted", "declined", "needsAction"]),
  };
  return [self, ...others];
}

/** Only primary calendars hold Google's special kinds of events. */
function specialType(calendar: Calendar, isPlain: boolean, random: Random): EventResource {
  if (isPlain || calendar.id !== calendar.ownerEmail || !random.chance(0.2)) return {};
  return random.pick<EventResource>([
    { eventType: "outOfOffice", outOfOfficeProperties: { autoDeclineMode: "declineNone" } },
    { eventType: "focusTime", focusTimeProperties: { autoDeclineMode: "declineNone" } },
    {
      eventType: "workingLocation",
      transparency: "transparent",
      visibility: "public",
      workingLocationProperties: { type: "homeOffice", homeOffice: {} },
    },
  ]);
}
