import type { CalendarRow } from "../../../src/core/calendar-store.ts";
import type { PushHealth } from "../../../src/core/channel-store.ts";
import { systemClock } from "../../../src/core/clock.ts";
import type { CalendarId } from "../../../src/core/ids.ts";
import type { GoogleEvent } from "../../../src/core/google-event.ts";
import type { Store } from "../../../src/store/open-store.ts";
import { compareEvents } from "../../support/compare-events.ts";
import { listAll } from "../mirror/calendar-writer.ts";
import { openAccountClients } from "../mirror/google-world.ts";
import { createBounds, createRandom, type Scenario, type ScenarioOptions } from "../scenario.ts";
import { pause, percentile, waitUntil } from "../wait-until.ts";
import { openPushWorld, type PushPlan, type PushWorld } from "./push-world.ts";

/**
 * Calendars change while notifications get lost, come late, come twice, and channels die without a word.
 *
 * notified, dropped: deliveries that arrived, and that did not. lost: events in which mirror and Google differ
 * after the last poll. killed, silentReplaced: channels that died silently half-way, and channels that were
 * opened because a poll found what nobody had told (a lost notification looks the same, so there are more).
 * killedAndKept: killed channels that are still taken for live at the end. duplicateChannels: more than one
 * channel at Google for a calendar of an account. watchesAtRestart: channels opened in the seconds after the
 * process was started anew, when all of them lived. p99Ms: of the refreshes that a notification led to, from
 * the last change before the refresh to its publish; the quiet time is part of it.
 */
interface Windows extends PushPlan {
  readonly changesPerSecond: number;
  readonly changingMs: number;
  readonly killed: number;
  readonly leastCalendars: number;
  /** No bound in the short form: other work runs beside it. */
  readonly mostP99Ms: number | undefined;
}

const FULL: Windows = {
  accounts: 20,
  calendarsEach: 99,
  pollSeconds: 15,
  safetySeconds: 60,
  quietMs: 2_000,
  mostMs: 10_000,
  graceMs: 12_000,
  lateMs: 4_000,
  judgesSilence: true,
  changesPerSecond: 20,
  changingMs: 90_000,
  killed: 100,
  leastCalendars: 2_000,
  mostP99Ms: 10_000,
};
const SHORT: Windows = {
  ...FULL,
  accounts: 2,
  calendarsEach: 19,
  pollSeconds: 4,
  safetySeconds: 4,
  quietMs: 200,
  mostMs: 1_000,
  graceMs: 1_500,
  lateMs: 500,
  changesPerSecond: 20,
  changingMs: 8_000,
  killed: 4,
  leastCalendars: 40,
  mostP99Ms: undefined,
};
/** The same faults with nobody who holds a silence against a channel. */
const CONTROL: Windows = { ...SHORT, judgesSilence: false };

const RESTART_LOOK_MS = 2_500;

export const runPush: Scenario = async (options) => {
  if (options.foreign !== undefined) {
    throw new Error("push lets notifications of its own simulator get lost; it takes no other");
  }
  const windows = options.short ? SHORT : FULL;
  const seen = await runEpisode(options, windows);
  const bounds = createBounds();
  bounds.atMost("lost", seen.lost, 0);
  bounds.atMost("killedAndKept", seen.killedAndKept, 0);
  bounds.atMost("duplicateChannels", seen.duplicateChannels, 0);
  bounds.atMost("watchesAtRestart", seen.watchesAtRestart, 0);
  bounds.atLeast("silentReplaced", seen.silentReplaced, seen.killed);
  bounds.atLeast("calendars", seen.calendars, windows.leastCalendars);
  bounds.atLeast("unwatchable", seen.unwatchable, 1);
  bounds.atLeast("killed", seen.killed, windows.killed);
  bounds.atLeast("dropped", seen.dropped, 1);
  bounds.atLeast("duplicated", seen.duplicated, 1);
  bounds.atLeast("refreshes after a notification", seen.pushed, 1);
  if (windows.mostP99Ms !== undefined) bounds.atMost("p99Ms", seen.p99Ms, windows.mostP99Ms);
  if (options.short) return { figures: { ...seen }, missed: bounds.missed };

  options.say("control: nobody holds a silence against a channel");
  const control = await runEpisode(options, CONTROL);
  bounds.atLeast("the control's killedAndKept", control.killedAndKept, CONTROL.killed);
  return {
    figures: { ...seen, controlKilledAndKept: control.killedAndKept },
    missed: bounds.missed,
  };
};

interface Episode {
  readonly notified: number;
  readonly dropped: number;
  readonly lost: number;
  readonly silentReplaced: number;
  readonly duplicateChannels: number;
  readonly p99Ms: number;
  readonly duplicated: number;
  readonly killed: number;
  readonly killedAndKept: number;
  readonly watchesAtRestart: number;
  readonly calendars: number;
  readonly unwatchable: number;
  readonly changes: number;
  /** Refreshes that a notification led to. */
  readonly pushed: number;
}

async function runEpisode(
  { seed, say }: Pick<ScenarioOptions, "seed" | "say">,
  windows: Windows,
): Promise<Episode> {
  const world = await openPushWorld(seed, windows);
  try {
    const rows = await connectAll(world);
    const { unwatchable } = await readHealth(world);
    say(`${String(rows.length)} calendars, ${String(unwatchable)} of them cannot be watched`);
    const watchesAtRestart = await restart(world);
    const watched = await onlyWatched(world.home.store, rows);
    const load = await changeAndKill(world, { rows: watched, windows, seed, say });
    await settle(world, { rows: watched, killed: load.killed, windows, say });
    const differences = await compare(world, rows);
    for (const line of differences.slice(0, 10)) say(line);
    const { delivered, dropped, duplicated } = world.simulator.counters().push;
    const pushed = latencies(world, load.changes, rows);
    return {
      notified: delivered,
      dropped,
      lost: differences.length,
      silentReplaced: world.runs.filter(isSilentReplacement).length,
      duplicateChannels: await countDuplicates(world),
      p99Ms: percentile(pushed, 0.99),
      duplicated,
      killed: load.killed.length,
      killedAndKept: await countKept(world.home.store, load.killed),
      watchesAtRestart,
      calendars: rows.length,
      unwatchable,
      changes: load.changes.length,
      pushed: pushed.length,
    };
  } finally {
    await world.close();
  }
}

function isSilentReplacement({ job, outcome, facts }: PushWorld["runs"][number]): boolean {
  return job === "renew-channel" && outcome === "opened" && facts["reason"] === "silent";
}

function readHealth({ home }: PushWorld): Promise<PushHealth> {
  return home.store.channels.health(systemClock.now());
}

async function connectAll(world: PushWorld): Promise<readonly CalendarRow[]> {
  const { home, simulator } = world;
  for (const [index, { refreshToken }] of simulator.accounts().entries()) {
    await home.connect(`tenant-${String(index % 5)}`, `account-${String(index)}`, refreshToken);
  }
  await waitUntil("every account's list is read", async () => {
    const accounts = await home.store.accounts.list({ limit: 1_000 });
    return accounts.every(({ discoveredAt }) => discoveredAt !== undefined);
  });
  await waitUntil(
    "every calendar is published and watched, or known not to be watchable",
    async () => {
      const { unwatched, opening, stopping } = await readHealth(world);
      if (unwatched + opening + stopping > 0) return false;
      return (await listRows(home.store)).every(({ generation, requested, served }) => {
        return generation > 0 && served >= requested;
      });
    },
  );
  return listRows(home.store);
}

/** Those that cannot be watched stay as they are: polls come to them rarely, so they would be waited for alone. */
async function onlyWatched(
  store: Store,
  rows: readonly CalendarRow[],
): Promise<readonly CalendarRow[]> {
  const watched: CalendarRow[] = [];
  for (const row of rows) {
    if ((await store.channels.listOfCalendar(row.id)).length > 0) watched.push(row);
  }
  return watched;
}

/** How many channels a process opens that finds them all alive. */
async function restart({ home, simulator, runs }: PushWorld): Promise<number> {
  const opened = (): number => simulator.counters().byOperation["events.watch"] ?? 0;
  const before = opened();
  const ranBefore = runs.length;
  await home.restart();
  await pause(RESTART_LOOK_MS);
  await waitUntil("the new process works", () => Promise.resolve(runs.length > ranBefore));
  return opened() - before;
}

interface Change {
  readonly googleId: string;
  readonly atMs: number;
}

interface Killed {
  readonly calendarId: CalendarId;
  readonly channelId: string;
}

/** Change calendars all the time; half-way channels die, and what they should have told changes after. */
async function changeAndKill(
  world: PushWorld,
  of: {
    readonly rows: readonly CalendarRow[];
    readonly windows: Windows;
    readonly seed: number;
    readonly say: (line: string) => void;
  },
): Promise<{ readonly changes: readonly Change[]; readonly killed: readonly Killed[] }> {
  const { rows, windows } = of;
  const random = createRandom(of.seed);
  const changes: Change[] = [];
  const change = (googleId: string): void => {
    changes.push({ googleId, atMs: performance.now() });
    world.simulator.changes.apply(1, { calendars: [googleId], mix: MIX });
  };
  const startedMs = performance.now();
  let killed: readonly Killed[] | undefined;
  for (;;) {
    const elapsedMs = performance.now() - startedMs;
    if (elapsedMs >= windows.changingMs) break;
    while (changes.length < (elapsedMs / 1_000) * windows.changesPerSecond) {
      const row = rows[Math.floor(random() * rows.length)];
      if (row !== undefined) change(row.googleId);
    }
    if (killed === undefined && elapsedMs > windows.changingMs / 2) {
      killed = await killSome(world, rows, windows.killed);
      of.say(`${String(killed.length)} channels died without a word`);
    }
    await pause(20);
  }
  const silent = new Set(killed?.map(({ calendarId }) => calendarId));
  // Later than the grace: a change as old as its channel might have been told before.
  for (const row of rows) if (silent.has(row.id)) change(row.googleId);
  return { changes, killed: killed ?? [] };
}

/** No deletions: a tombstone says nothing of when it was made, so it proves no silence. */
const MIX = { insert: 3, edit: 4, move: 3 } as const;

async function killSome(
  world: PushWorld,
  rows: readonly CalendarRow[],
  count: number,
): Promise<readonly Killed[]> {
  const killed: Killed[] = [];
  for (const { id: calendarId } of rows) {
    if (killed.length >= count) break;
    const channels = await world.home.store.channels.listOfCalendar(calendarId);
    const live = channels.findLast(({ state }) => state === "live");
    if (live === undefined) continue;
    await world.kill(live.id);
    killed.push({ calendarId, channelId: live.id });
  }
  return killed;
}

/** Polls and channels do it alone: nobody asks for anything. */
async function settle(
  world: PushWorld,
  of: {
    readonly rows: readonly CalendarRow[];
    readonly killed: readonly Killed[];
    readonly windows: Windows;
    readonly say: (line: string) => void;
  },
): Promise<void> {
  const { store } = world.home;
  const since = systemClock.now();
  of.say("no more changes; waiting for the last polls");
  const changed = new Set(of.rows.map(({ id }) => id));
  await waitUntil("every calendar that changed was read since", async () => {
    const rows = (await listRows(store)).filter(({ id }) => changed.has(id));
    return rows.every(
      ({ currentAsOf, requested, served }) => (currentAsOf ?? 0) > since && served >= requested,
    );
  });
  if (!of.windows.judgesSilence) return;
  await waitUntil("silent channels are replaced and nothing is under way", async () => {
    const { opening, stopping, unwatched } = await readHealth(world);
    const kept = await countKept(store, of.killed);
    return opening + stopping + unwatched + kept === 0;
  });
  await waitUntil("what was found while a channel was replaced is served", async () =>
    (await listRows(store)).every(({ requested, served }) => served >= requested),
  );
}

async function countKept(store: Store, killed: readonly Killed[]): Promise<number> {
  const rows = await Promise.all(killed.map(({ channelId }) => store.channels.get(channelId)));
  return rows.filter((row) => row !== undefined).length;
}

async function countDuplicates(world: PushWorld): Promise<number> {
  const channels = await world.channels();
  const places = new Set(
    channels.map(({ calendarId, accountEmail }) => JSON.stringify([calendarId, accountEmail])),
  );
  return channels.length - places.size;
}

function latencies(
  { runs }: PushWorld,
  changes: readonly Change[],
  rows: readonly CalendarRow[],
): readonly number[] {
  const changesOf = Map.groupBy(changes, ({ googleId }) => googleId);
  const googleIdOf = new Map(rows.map(({ id, googleId }) => [String(id), googleId]));
  return runs.flatMap(({ job, outcome, facts, endedMs, durationMs }) => {
    if (job !== "refresh-calendar" || outcome !== "published" || facts["class"] !== "push") {
      return [];
    }
    const googleId = googleIdOf.get(String(facts["calendarId"]));
    const beganMs = endedMs - durationMs;
    const last = changesOf.get(googleId ?? "")?.findLast(({ atMs }) => atMs <= beganMs);
    return last === undefined ? [] : [endedMs - last.atMs];
  });
}

/** Event by event, as the owner of each calendar's row sees it. */
async function compare(world: PushWorld, rows: readonly CalendarRow[]): Promise<string[]> {
  const { simulator, home } = world;
  const clients = await openAccountClients({
    apiRootUrl: simulator.url,
    tokenUrl: simulator.tokenUrl,
    refreshTokens: simulator.accounts().map(({ refreshToken }) => refreshToken),
    killTokens: undefined,
    close: () => Promise.resolve(),
  });
  const differences: string[] = [];
  const accounts = await home.store.accounts.list({ limit: 1_000 });
  const clientOf = new Map(
    accounts.map(({ id, name }) => [id, clients[Number(name.slice("account-".length))]?.client]),
  );
  for (const row of rows) {
    const client = clientOf.get(row.accountId);
    if (client === undefined) throw new Error(`No client for ${row.id}`);
    const copy = await readAll(home.store, row.id);
    differences.push(...compareEvents(row.id, copy, await listAll(client, row.googleId)));
  }
  return differences;
}

async function readAll(store: Store, id: CalendarId): Promise<readonly GoogleEvent[]> {
  const page = await store.events.readEvents(id, { limit: 2_500 }, systemClock.now());
  if (page.kind === "unknown-calendar") throw new Error(`${id} is unknown to the store`);
  if (page.next !== undefined) throw new Error(`${id} has more events than this scenario makes`);
  return page.events;
}

async function listRows(store: Store): Promise<readonly CalendarRow[]> {
  const rows: CalendarRow[] = [];
  for (;;) {
    const page = await store.calendars.list({ after: rows.at(-1)?.id, limit: 1_000 });
    rows.push(...page);
    if (page.length < 1_000) return rows;
  }
}
