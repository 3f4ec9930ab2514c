import type { CalendarRow } from "../../../src/core/calendar-store.ts";
import { systemClock } from "../../../src/core/clock.ts";
import type { CalendarId } from "../../../src/core/ids.ts";
import { createBounds, type Scenario, type ScenarioOptions } from "../scenario.ts";
import type { Poison } from "./poison-front.ts";
import {
  CONCURRENCY,
  openPoisonWorld,
  until,
  type Pace,
  type PoisonWorld,
} from "./poison-world.ts";
import { countSkipped, countWatchesAgain } from "./after-drain.ts";

/**
 * Everything that took a peer down, at once, before the eyes of calendars that are well.
 *
 * cases: what was planted and judged. setAside: calendars slowed with their reason, and jobs with an
 * entry in the operator log. othersDelayed: calendars that are well and were refreshed less often, while the
 * poison was there, than once a poll, a pinned worker and some slack (`allowedGapMs`); all of them were, if
 * one hung call, one job or one account could hold the others up. generationMax: of a calendar whose sync
 * token dies whenever it is used, over the virtual days; it is polled every few seconds, and each poll by a
 * sync token would be a generation.
 * The full form ends with a control in which calls that hang are not cut off. The short one judges no times: each of
 * the others is refreshed twice at least while the poison is there; and calendars that pin a worker at each of their
 * failures have some of those behind them.
 */
interface Size extends Pace {
  readonly windowMs: number;
  readonly days: number;
  readonly slackMs: number;
  /** In place of what the window's length asks for: however slow the machine is. */
  readonly leastRefreshes?: number;
  readonly earlierFailures: number;
}

const SIZES: Readonly<Record<"full" | "short", Size>> = {
  full: {
    pollSeconds: 4,
    pageDeadlineMs: 4_000,
    windowMs: 120_000,
    days: 7,
    slackMs: 2_000,
    earlierFailures: 0,
  },
  short: {
    pollSeconds: 3,
    pageDeadlineMs: 3_000,
    windowMs: 26_000,
    days: 2,
    slackMs: 2_000,
    leastRefreshes: 2,
    earlierFailures: 4,
  },
};

const HOUR_MS = 3_600_000;
const KEYLESS_ACCOUNTS = 100;

function allowedGapMs({ pollSeconds, pageDeadlineMs, slackMs }: Size): number {
  return pollSeconds * 1_250 + 2 * pageDeadlineMs + slackMs;
}

/** The first read and three deaths; then each waits 1, 2, 4, 8 and from then on 16 hours, less a quarter at most. */
const GENERATIONS = { atOnce: 4, whileWaitsGrow: 6, perDay: 2 };

/** The calendars of tenant `odd`, and the reason with which each is set aside; undefined: it is not. */
const PLANTED: readonly (readonly [Poison, string | undefined])[] = [
  ["endless", "BALLAST_ENDLESS_LISTING"],
  ["endless-empty", "BALLAST_ENDLESS_LISTING"],
  ["dead-page-token", "GCAL_PAGE_TOKEN_DEAD"],
  ["token-loop", "token-loop"],
  ["wrong-types", undefined],
  ["missing-ids", "GCAL_MALFORMED_RESPONSE"],
  ["huge", "GCAL_RESPONSE_TOO_LARGE"],
  ["drip", "GCAL_TIMED_OUT"],
  // As many as there are workers.
  ...Array.from({ length: CONCURRENCY }, () => ["hung", "GCAL_TIMED_OUT"] as const),
];

export const runPoison: Scenario = async (options) => {
  if (options.foreign !== undefined) {
    throw new Error("poison stands before its own simulator; it takes no other server");
  }
  const size = options.short ? SIZES.short : SIZES.full;
  const world = await openPoisonWorld({ ...size, seed: options.seed, isCutOff: true });
  try {
    const seen = await runEpisode(world, { ...options, size });
    const result = { figures: figuresOf(seen), missed: judge(world, seen) };
    if (options.short) return result;
    const bounds = createBounds();
    const delayed = await runControl(options, size);
    bounds.atLeast("othersDelayed of the control", delayed, 1);
    return {
      figures: { ...result.figures, controlOthersDelayed: delayed },
      missed: [...result.missed, ...bounds.missed],
    };
  } finally {
    await world.close();
  }
};

const CONTROL_MS = 60_000;

/** The same poison where a hung call keeps its worker: how many of the others are delayed by it. */
async function runControl({ seed, say }: ScenarioOptions, size: Size): Promise<number> {
  say("control: calls that hang are not cut off");
  const world = await openPoisonWorld({ ...size, seed, isCutOff: false });
  try {
    const healthy = await publishAll(world);
    const planted = await plant(world, size);
    const startedMs = performance.now();
    await until("the control's time is over", async () => {
      await world.hasten(planted.setAside);
      return performance.now() - startedMs > CONTROL_MS;
    });
    const least = Math.floor(CONTROL_MS / allowedGapMs(size));
    return countPublished(world, healthy, startedMs).filter((count) => count < least).length;
  } finally {
    await world.close();
  }
}

interface Seen {
  readonly size: Size;
  /** How long the poison was there before all of it was set aside. */
  readonly windowMs: number;
  /** How often each calendar that is well was refreshed while the poison was there. */
  readonly others: readonly number[];
  readonly planted: Planted;
  /** Set aside with another reason than theirs, or not at all, in words. */
  readonly mistaken: readonly string[];
  readonly asideJobs: number;
  readonly slowedForADay: number;
  readonly oddEvents: number;
  readonly generationMax: number;
  readonly keylessRefused: number;
  readonly watches: { readonly before: number; readonly again: number };
  readonly skipped: { readonly byKeyset: number; readonly byOffset: number };
}

async function runEpisode(
  world: PoisonWorld,
  { size, say }: { readonly size: Size; readonly say: ScenarioOptions["say"] },
): Promise<Seen> {
  const healthy = await publishAll(world);
  say(`${String(healthy.length)} calendars are well`);
  const planted = await plant(world, size);
  const startedMs = performance.now();
  await settleAll(world, { planted, windowMs: size.windowMs });
  const windowMs = performance.now() - startedMs;
  say(`all poison is set aside, after ${String(Math.round(windowMs / 1_000))} s`);
  const others = countPublished(world, healthy, startedMs);
  const mistaken = await findMistaken(world, planted.calendars);
  const asideJobs = await countAsideJobs(world);
  const slowedForADay = await countWedgedForADay(world, planted.calendars);
  const oddEvents = await countOddEvents(world, planted.calendars);
  const generationMax = await loopForDays(world, planted.calendars, size.days);
  const keylessRefused = world.simulator.counters().byReason["invalid_grant"] ?? 0;
  say(`${String(size.days)} days went by`);
  await world.home.app.drain();
  const watches = await countWatchesAgain(world, healthy);
  const skipped = await countSkipped(world);
  return {
    size,
    windowMs,
    others,
    planted,
    mistaken,
    asideJobs,
    slowedForADay,
    oddEvents,
    generationMax,
    keylessRefused,
    watches,
    skipped,
  };
}

function leastRefreshes({ windowMs, size }: Seen): number {
  return size.leastRefreshes ?? Math.floor(windowMs / allowedGapMs(size));
}

function countDelayed(seen: Seen): number {
  return seen.others.filter((count) => count < leastRefreshes(seen)).length;
}

function figuresOf(seen: Seen): Record<string, number> {
  return {
    cases: new Set(PLANTED.map(([kind]) => kind)).size + CASES_BESIDE,
    setAside: seen.slowedForADay + seen.asideJobs,
    othersDelayed: countDelayed(seen),
    generationMax: seen.generationMax,
    others: seen.others.length,
    leastRefreshes: Math.min(...seen.others),
    askedRefreshes: leastRefreshes(seen),
    windowSeconds: Math.round(seen.windowMs / 1_000),
    keylessRefused: seen.keylessRefused,
    skippedByOffset: seen.skipped.byOffset,
    skippedByKeyset: seen.skipped.byKeyset,
    watches: seen.watches.before,
    watchesAgain: seen.watches.again,
  };
}

function judge({ front }: PoisonWorld, seen: Seen): readonly string[] {
  const bounds = createBounds();
  const { generationMax, size, keylessRefused, skipped, watches } = seen;
  bounds.atMost("othersDelayed", countDelayed(seen), 0);
  bounds.atLeast("calendars that are well", seen.others.length, 10);
  bounds.atLeast("refreshes asked of each of them", leastRefreshes(seen), 2);
  const { atOnce, whileWaitsGrow, perDay } = GENERATIONS;
  bounds.atMost("generationMax", generationMax, atOnce + whileWaitsGrow + size.days * perDay);
  bounds.atLeast("generationMax, so that it looped", generationMax, atOnce);
  bounds.atLeast("jobs set aside", seen.asideJobs, seen.planted.jobs);
  bounds.atLeast("shown as slowed a day later", seen.slowedForADay, seen.planted.setAside.length);
  bounds.atLeast("odd events and their neighbour", seen.oddEvents, 6);
  for (const kind of [...PLANTED.map(([one]) => one), "refused" as const]) {
    bounds.atLeast(`requests answered by ${kind}`, front.struck(kind), 2);
  }
  bounds.atLeast("token requests refused", keylessRefused, 6);
  bounds.atMost("token requests refused", keylessRefused, KEYLESS_ACCOUNTS * 3);
  bounds.atMost("rows skipped by keyset", skipped.byKeyset, 0);
  bounds.atLeast("rows skipped by offset, the control", skipped.byOffset, 1);
  bounds.atLeast("watches before the restarts", watches.before, 10);
  bounds.atMost("watches made again by restarts", watches.again, 0);
  return [...seen.mistaken, ...bounds.missed];
}

/** Jobs of three kinds, a day of wedging, the cursed tenant, the accounts, the cursor, the restarts. */
const CASES_BESIDE = 8;

interface Planted {
  readonly calendars: readonly PlantedCalendar[];
  readonly setAside: readonly CalendarId[];
  readonly jobs: number;
}

interface PlantedCalendar {
  readonly id: CalendarId;
  readonly kind: Poison;
  readonly reason: string | undefined;
}

/** All four accounts' calendars are read; those of two stay well. */
async function publishAll(world: PoisonWorld): Promise<readonly CalendarId[]> {
  const { store } = world.home;
  await until("all calendars are published and watched", async () => {
    const rows = await store.calendars.list({ limit: 1_000 });
    return (
      rows.length >= 50 &&
      rows.every(({ generation }) => generation > 0) &&
      world.front.watches() > 0
    );
  });
  const rows = [...(await world.rowsOf("calm")), ...(await world.rowsOf("busy"))];
  const poisoned = new Set(
    [...(await world.rowsOf("odd")), ...(await world.rowsOf("cursed"))].map((row) => row.googleId),
  );
  return rows.filter(({ googleId }) => !poisoned.has(googleId)).map(({ id }) => id);
}

async function plant(world: PoisonWorld, { earlierFailures }: Size): Promise<Planted> {
  const { front, home } = world;
  const own = async (tenant: string): Promise<readonly CalendarRow[]> => {
    const others = (await home.store.calendars.list({ limit: 1_000 })).filter(
      (row) => String(row.tenantId) !== tenant,
    );
    const shared = new Set(others.map(({ googleId }) => googleId));
    return (await world.rowsOf(tenant)).filter(({ googleId }) => !shared.has(googleId));
  };
  const odd = await own("odd");
  if (odd.length < PLANTED.length) throw new Error("The simulator made too few calendars");
  const calendars: PlantedCalendar[] = [];
  for (const [index, [kind, reason]] of PLANTED.entries()) {
    const row = odd[index];
    if (row === undefined) continue;
    front.poison(String(row.googleId), kind);
    calendars.push({ id: row.id, kind, reason });
  }
  for (const { id, googleId } of await own("cursed")) {
    front.poison(String(googleId), "refused");
    calendars.push({ id, kind: "refused", reason: "GCAL_INVALID_REQUEST" });
  }
  const pinning = calendars.filter(({ kind }) => kind === "hung" || kind === "drip");
  await world.tire(
    pinning.map(({ id }) => id),
    earlierFailures,
  );
  for (let index = 0; index < KEYLESS_ACCOUNTS; index += 1) {
    await home.connect("keyless", `account-${String(index)}`, `no-such-token-${String(index)}`);
  }
  const jobs = await world.addGarbageJobs();
  const setAside = calendars.filter(({ reason }) => reason !== undefined).map(({ id }) => id);
  return { calendars, setAside, jobs };
}

/** Let everything that is poisoned be tried as often as it can be, until it is set aside and the window is over. */
async function settleAll(
  world: PoisonWorld,
  { planted, windowMs }: { readonly planted: Planted; readonly windowMs: number },
): Promise<void> {
  const endsMs = performance.now() + windowMs;
  await until("all poison is set aside", async () => {
    await world.hasten(planted.setAside);
    if (performance.now() < endsMs) return false;
    const rows = await Promise.all(planted.setAside.map((id) => world.row(id)));
    const waiting = rows.filter(({ state }) => state !== "slowed");
    const jobs = await countAsideJobs(world);
    return waiting.length === 0 && jobs >= planted.jobs;
  });
}

function countPublished(
  { runs }: PoisonWorld,
  healthy: readonly CalendarId[],
  sinceMs: number,
): readonly number[] {
  const counts = new Map(healthy.map((id) => [String(id), 0]));
  for (const { outcome, endedMs, facts } of runs) {
    const id = String(facts["calendarId"]);
    const count = counts.get(id);
    if (outcome !== "published" || endedMs < sinceMs || count === undefined) continue;
    counts.set(id, count + 1);
  }
  return [...counts.values()];
}

async function findMistaken(
  world: PoisonWorld,
  planted: readonly PlantedCalendar[],
): Promise<readonly string[]> {
  const mistaken: string[] = [];
  for (const { id, kind, reason } of planted) {
    const { state, stateReason } = await world.row(id);
    const isRight =
      reason === undefined ? state !== "slowed" : state === "slowed" && stateReason === reason;
    if (!isRight)
      mistaken.push(`the calendar of ${kind} is ${state}, ${stateReason ?? "no reason"}`);
  }
  return mistaken;
}

async function countAsideJobs({ home }: PoisonWorld): Promise<number> {
  const entries = await home.store.operatorLog.list({ limit: 1_000 });
  const jobs = entries.filter(({ action }) => action === "job.set-aside");
  return new Set(jobs.map(({ subject, details }) => `${subject} ${String(details["jobId"])}`)).size;
}

/** A day later they are still said to be slowed, and why, and not one of them is fresh. */
async function countWedgedForADay(
  world: PoisonWorld,
  planted: readonly PlantedCalendar[],
): Promise<number> {
  for (const { id, kind } of planted) if (kind === "hung") await world.age(id, 24 * HOUR_MS);
  const { slowed } = await world.home.store.calendars.counts();
  const rows = await Promise.all(planted.map(({ id }) => world.row(id)));
  const shown = rows.filter(
    ({ state, stateReason }) => state === "slowed" && stateReason !== undefined,
  );
  return Math.min(slowed, shown.length);
}

async function countOddEvents(
  { home }: PoisonWorld,
  planted: readonly PlantedCalendar[],
): Promise<number> {
  const odd = planted.find(({ kind }) => kind === "wrong-types");
  if (odd === undefined) return 0;
  const read = await home.store.events.readEvents(odd.id, { limit: 1_000 }, systemClock.now());
  if (read.kind !== "events") return 0;
  return read.events.filter(({ id }) => id.startsWith("odd") || id === "neighbour").length;
}

/** Time passes for the calendar whose sync tokens die, as fast as it is refreshed. */
async function loopForDays(
  world: PoisonWorld,
  planted: readonly PlantedCalendar[],
  days: number,
): Promise<number> {
  const loop = planted.find(({ kind }) => kind === "token-loop");
  if (loop === undefined) return 0;
  let passedMs = 0;
  while (passedMs < days * 24 * HOUR_MS) {
    const before = world.front.struck("token-loop");
    const { dueAt } = await world.row(loop.id);
    const stepMs = Math.max(0, (dueAt ?? 0) - Date.now());
    await world.age(loop.id, stepMs);
    passedMs += stepMs;
    await until("the looping calendar is looked at", () =>
      Promise.resolve(world.front.struck("token-loop") > before),
    );
    await until("its refresh is over", async () => {
      const { queuedUntil, dueReason } = await world.row(loop.id);
      return dueReason !== "interrupted" && (queuedUntil ?? 0) < Date.now();
    });
  }
  return (await world.row(loop.id)).generation;
}
