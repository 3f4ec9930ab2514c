import { z } from "zod";
import { clientFields } from "./event-body.ts";
import { cancelEvent, editedEvent, newEvent } from "./events-write.ts";
import { instancesOf } from "./instances.ts";
import { makeEvent, moveTimes } from "./make-event.ts";
import { checksum } from "./random.ts";
import type { Random } from "./random.ts";
import type { EventResource } from "./wire-resources.ts";
import { currentVersion } from "./world.ts";
import type { Account, Calendar, EventHistory, World } from "./world.ts";

const seedCalendars = z.array(
  z.object({
    id: z.string().min(1),
    summary: z.string().default(""),
    timeZone: z.string().default("UTC"),
    events: z.array(z.record(z.string(), z.unknown())),
  }),
);

/** Calendars to start with, as `events.insert` bodies: the shape of a seed file. */
export type SeedCalendars = z.input<typeof seedCalendars>;

/** How much to make up. */
export interface GeneratedSeed {
  readonly accounts: number;
  /** Per account, besides its primary calendar. */
  readonly calendars: number;
  /** Per calendar. */
  readonly events: number;
}

const ZONES = ["Europe/Zurich", "America/New_York", "UTC", "Asia/Tokyo"];
/** Ids that break clients which encode once too often, too rarely, or fold case. */
const AWKWARD = ["team:a/b#c%2F", "Team:A/B#C%2F", "büro ☕", "BÜRO ☕", "a+b&c=d", "100%"];
const DAY_MS = 86_400_000;

/** Add an account whose address, refresh token and `sub` follow from the world's secret. */
export function seedAccount(world: World, email: string): Account {
  const digits = Number.parseInt(checksum(world.secret, email), 36) % 1e15;
  const account = world.addAccount({
    email,
    sub: `1${String(digits).padStart(20, "0")}`,
    refreshToken: `1//sim-${checksum(world.secret, `refresh/${email}`)}${checksum(email, world.secret)}`,
  });
  world.addCalendar({
    id: email,
    summary: email,
    timeZone: "Europe/Zurich",
    ownerEmail: email,
  });
  return account;
}

/** Fill a world with calendars from a seed file, dealt out over accounts; every fifth is shared with a second one. */
export function seedFromCalendars(
  world: World,
  calendars: unknown,
  options: { readonly accounts: number },
): void {
  const accounts = addAccounts(world, options.accounts);
  for (const [index, seed] of seedCalendars.parse(calendars).entries()) {
    const owner = accounts[index % accounts.length];
    if (!owner) continue;
    const calendar = world.addCalendar({
      id: `${seed.id}@group.calendar.google.com`,
      summary: seed.summary,
      timeZone: seed.timeZone,
      ownerEmail: owner.email,
      isWatchable: !seed.id.startsWith("holidays-"),
    });
    for (const body of seed.events) insertSeedEvent(world, calendar, body);
    const second = accounts[(index + 1) % accounts.length];
    if (second && second !== owner && index % 5 === 0) {
      world.setAccess(calendar, second.email, "reader");
    }
  }
}

/** Fill a world with made-up accounts, calendars and events; the same random stream makes the same world. */
export function seedGenerated(world: World, options: GeneratedSeed, random: Random): void {
  const accounts = addAccounts(world, options.accounts);
  for (const [index, account] of accounts.entries()) {
    const primary = world.calendars.get(account.email);
    if (primary) fillCalendar(world, primary, { events: options.events, random });
    for (let number = 0; number < options.calendars; number++) {
      const name = AWKWARD[number] ?? `calendar-${number}`;
      const calendar = world.addCalendar({
        id: `${name}-${index}@group.calendar.google.com`,
        summary: `Calendar ${number} of ${account.email}`,
        timeZone: random.pick(ZONES),
        ownerEmail: account.email,
        isWatchable: number % 10 !== 9,
      });
      fillCalendar(world, calendar, { events: options.events, random });
      const second = accounts[(index + 1) % accounts.length];
      if (second && second !== account && number % 5 === 1) {
        world.setAccess(calendar, second.email, "reader");
      }
    }
  }
}

/** Move or cancel one instance of a series; returns the exception, or undefined when the series has no instance left. */
export function addException(
  world: World,
  calendar: Calendar,
  options: { readonly event: EventHistory; readonly random: Random },
): EventHistory | undefined {
  const { event, random } = options;
  const nowMs = world.nowMs();
  const instances = instancesOf(calendar, event, {
    fromMs: nowMs - 90 * DAY_MS,
    toMs: nowMs + 90 * DAY_MS,
  });
  if (instances.length === 0) return undefined;
  const instance = random.pick(instances);
  if (random.chance(0.5)) return world.putEvent(calendar, { ...instance, status: "cancelled" });
  const moved: EventResource = { ...instance, ...moveTimes(instance, calendar, random) };
  return world.putEvent(calendar, editedEvent(calendar, instance, moved));
}

function addAccounts(world: World, count: number): readonly Account[] {
  const known = world.accounts.size;
  return Array.from({ length: count }, (_, index) =>
    seedAccount(world, `user${known + index + 1}@example.com`),
  );
}

function fillCalendar(
  world: World,
  calendar: Calendar,
  options: { readonly events: number; readonly random: Random },
): void {
  const { random } = options;
  const anchorMs = world.nowMs();
  for (let number = 0; number < options.events; number++) {
    const fields = makeEvent(calendar, random, anchorMs);
    const event = world.putEvent(
      calendar,
      newEvent(calendar, { ...fields, id: random.text(26) }, world),
    );
    if (currentVersion(event).resource.recurrence && random.chance(0.5)) {
      addException(world, calendar, { event, random });
    }
    if (random.chance(0.03)) cancelEvent(world, calendar, currentVersion(event).resource);
  }
}

function insertSeedEvent(world: World, calendar: Calendar, body: Record<string, unknown>): void {
  world.putEvent(calendar, newEvent(calendar, clientFields(body), world));
}
