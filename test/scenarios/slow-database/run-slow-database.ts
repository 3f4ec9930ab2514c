import type { WorkTiming } from "../../../src/app-parts.ts";
import type { CalendarRow } from "../../../src/core/calendar-store.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { accountName, tenantId } from "../../../src/core/ids.ts";
import type { GoogleEvent } from "../../../src/core/google-event.ts";
import type { Store } from "../../../src/store/open-store.ts";
import { compareEvents } from "../../support/compare-events.ts";
import { runOnPostgres } from "../../support/postgres-cluster.ts";
import { listAll } from "../mirror/calendar-writer.ts";
import { openAccountClients } from "../mirror/google-world.ts";
import { createBounds, type Scenario, type ScenarioOptions } from "../scenario.ts";
import { countFetchedTwice } from "./record-requests.ts";
import { openSlowWorld, type SlowWorld } from "./slow-world.ts";

/**
 * Postgres becomes slow, then stops, then comes back, while calendars change and fall due all the time.
 *
 * requestsWhileDown: everything that arrived at Google (token requests too) from the moment Postgres was
 * stopped to the moment it was started again. It was slow before, so the database is known to be unwell and
 * nothing need react any more: allowed is what was in flight, and no probe is ever sent for a database.
 * requestsWhileSlow: the same from 2.5 s after it became slow, which is what the health needs (a write begins
 * within 0.25 s, is too slow after 1 s, and who was let through before waits at most 1 s for a permit).
 * pagesFetchedTwice: pages (account, calendar, sync token, page token) answered with 200 more than once.
 * lost: events in which mirror and Google differ at the end. exits: errors that would have ended the process.
 * recoverySeconds: from Postgres answering again until every calendar was brought up to date since.
 */
interface Windows {
  readonly calmMs: number;
  readonly slowMs: number;
  /** From here on nothing new is let through. */
  readonly reactionMs: number;
  readonly downMs: number;
  readonly timing: Partial<WorkTiming>;
}

const FULL: Windows = {
  calmMs: 15_000,
  slowMs: 60_000,
  reactionMs: 2_500,
  downMs: 60_000,
  timing: {},
};
/** Leases run out while it lasts, as they do in the full form. Times are judged there: a busy machine reacts later. */
const SHORT: Windows = {
  calmMs: 3_000,
  slowMs: 7_000,
  reactionMs: 4_500,
  downMs: 4_000,
  timing: { leaseMs: 6_000, pageDeadlineMs: 5_000, queuedForMs: 6_000 },
};
const CONTROL: Windows = { ...FULL, calmMs: 5_000, downMs: 5_000 };

const ADDED_MS = 2_000;
const POLL_SECONDS = 4;
const CHANGES_PER_SECOND = 30;
const REQUEST_EVERY_MS = 150;
const SETTLE_MS = 150_000;

export const runSlowDatabase: Scenario = async (options) => {
  if (options.foreign !== undefined) {
    throw new Error(
      "slow-database counts what reaches its own simulator; it takes no other server",
    );
  }
  const seen = await runEpisode(options, {
    ...(options.short ? SHORT : FULL),
    isHealthIgnored: false,
  });
  const { sent } = seen;
  const bounds = createBounds();
  bounds.atMost("requestsWhileDown", sent.whileDown, sent.inFlightAtStop);
  bounds.atMost("requestsWhileSlow", sent.whileSlow, sent.inFlightWhenSlow);
  bounds.atMost("pagesFetchedTwice", seen.pagesFetchedTwice, 0);
  bounds.atMost("lost", seen.lost, 0);
  bounds.atMost("exits", seen.exits, 0);
  if (!options.short) bounds.atMost("recoverySeconds", seen.recoverySeconds, 60);
  bounds.atLeast("calendars", seen.calendars, 60);
  bounds.atLeast("requests in the calm before", sent.whileCalm, 1);
  const figures = {
    requestsWhileDown: sent.whileDown,
    pagesFetchedTwice: seen.pagesFetchedTwice,
    lost: seen.lost,
    exits: seen.exits,
    recoverySeconds: seen.recoverySeconds,
    inFlightAtStop: sent.inFlightAtStop,
    requestsWhileSlow: sent.whileSlow,
    requestsInTheCalm: sent.whileCalm,
    pagesKept: seen.pagesKept,
    fencedOut: seen.fencedOut,
    calendars: seen.calendars,
    changes: seen.changes,
  };
  if (options.short) return { figures, missed: bounds.missed };

  options.say("control: the same with the database's health ignored");
  const control = await runEpisode(options, { ...CONTROL, isHealthIgnored: true });
  const controlRequests = control.sent.whileSlow;
  bounds.atLeast("the control's requestsWhileSlow", controlRequests, 5 + 3 * sent.whileSlow);
  return {
    figures: { ...figures, controlRequestsWhileSlow: controlRequests },
    missed: bounds.missed,
  };
};

interface Episode {
  readonly sent: Sent;
  readonly pagesFetchedTwice: number;
  readonly lost: number;
  readonly exits: number;
  readonly recoverySeconds: number;
  /** Pages that were fetched before Postgres stopped and stored after it was back. */
  readonly pagesKept: number;
  readonly fencedOut: number;
  readonly calendars: number;
  readonly changes: number;
}

async function runEpisode(
  { seed, say }: Pick<ScenarioOptions, "seed" | "say">,
  options: Windows & { readonly isHealthIgnored: boolean },
): Promise<Episode> {
  const world = await openSlowWorld({ ...options, seed, pollSeconds: POLL_SECONDS });
  const exits = countExits();
  try {
    const rows = await connectAll(world);
    say(`${String(rows.length)} calendars published`);
    const load = startLoad(world, rows);
    const times = await goThrough(world, { windows: options, rows, say });
    await load.stop();
    await settle(world.direct);
    const differences = await compare(world);
    for (const line of differences.slice(0, 10)) say(line);
    return {
      sent: countSent(world, times),
      pagesFetchedTwice: countFetchedTwice(world.recorder.passed()),
      lost: differences.length,
      exits: exits.count(),
      recoverySeconds: Math.round((times.recoveredMs - times.backMs) / 100) / 10,
      pagesKept: countKept(world, times),
      fencedOut: world.runs.filter(({ outcome }) => outcome === "fenced-out").length,
      calendars: rows.length,
      changes: Object.values(world.simulator.changes.made()).reduce((sum, n) => sum + n, 0),
    };
  } finally {
    await world.close();
    exits.stop();
  }
}

/** Errors that would have ended the process, were they not counted here. */
function countExits(): { count(): number; stop(): void } {
  let count = 0;
  const note = (error: unknown): void => {
    count += 1;
    process.stderr.write(`would have ended the process: ${String(error)}\n`);
  };
  process.on("unhandledRejection", note).on("uncaughtException", note);
  return {
    count: () => count,
    stop() {
      process.off("unhandledRejection", note).off("uncaughtException", note);
    },
  };
}

async function connectAll(world: SlowWorld): Promise<readonly CalendarRow[]> {
  const { home, direct } = world;
  const accounts = await openAccountClients(googleOf(world));
  const expected = accounts.reduce((sum, { listed }) => sum + listed.length, 0);
  for (const [index, { refreshToken }] of accounts.entries()) {
    await home.connect(`tenant-${String(index % 3)}`, `account-${String(index)}`, refreshToken);
  }
  await until("all calendars are published", async () => {
    const rows = await listRows(direct);
    return rows.length >= expected && rows.every(({ generation }) => generation > 0);
  });
  // Every fifth calendar is read in many pages, so that listings are under way at any moment.
  await runOnPostgres(
    world.cluster.url("ballast"),
    "update calendars set page_size = 1 where number % 5 = 0",
  );
  return listRows(direct);
}

/** The simulator itself: what the judge asks is not recorded. */
function googleOf({ simulator }: SlowWorld): Parameters<typeof openAccountClients>[0] {
  return {
    apiRootUrl: simulator.url,
    tokenUrl: simulator.tokenUrl,
    refreshTokens: simulator.accounts().map(({ refreshToken }) => refreshToken),
    killTokens: undefined,
    close: () => Promise.resolve(),
  };
}

/** Changes and requests, all the time; what cannot be asked for because the database is gone is not. */
function startLoad(
  { simulator, direct }: SlowWorld,
  rows: readonly CalendarRow[],
): { stop(): Promise<void> } {
  const stopping = new AbortController();
  simulator.changes.start(CHANGES_PER_SECOND);
  const ask = async (): Promise<void> => {
    for (let turn = 0; !stopping.signal.aborted; turn += 1) {
      const row = rows[turn % rows.length];
      if (row === undefined) return;
      await direct.calendars
        .request(row.id, { class: "push", dueAt: systemClock.now() })
        .catch(() => undefined);
      await pause(REQUEST_EVERY_MS);
    }
  };
  const asking = ask();
  return {
    async stop() {
      stopping.abort();
      await asking;
      await simulator.changes.stop();
    },
  };
}

interface Times {
  readonly calmMs: number;
  readonly slowMs: number;
  readonly reactedMs: number;
  readonly inFlightWhenSlow: number;
  readonly stoppedMs: number;
  readonly inFlightAtStop: number;
  readonly restartMs: number;
  readonly backMs: number;
  readonly recoveredMs: number;
}

async function goThrough(
  { proxy, cluster, recorder, direct }: SlowWorld,
  {
    windows,
    rows,
    say,
  }: { windows: Windows; rows: readonly CalendarRow[]; say: (line: string) => void },
): Promise<Times> {
  const calmMs = performance.now();
  await pause(windows.calmMs);
  await until("pages are on their way", () => Promise.resolve(recorder.inFlight() >= 3), 5);
  say(`Postgres answers ${String(ADDED_MS)} ms later`);
  const slowMs = performance.now();
  proxy.delay({ toServerMs: ADDED_MS / 2, toClientMs: ADDED_MS / 2 });
  await pause(windows.reactionMs);
  const reactedMs = performance.now();
  const inFlightWhenSlow = recorder.inFlight();
  await pause(windows.slowMs - windows.reactionMs);
  say("Postgres is stopped");
  const stoppedMs = performance.now();
  const inFlightAtStop = recorder.inFlight();
  await cluster.kill();
  proxy.delay({ toServerMs: 0, toClientMs: 0 });
  await pause(windows.downMs);
  const restartMs = performance.now();
  await cluster.restart();
  const backMs = performance.now();
  const backAt = systemClock.now();
  say("Postgres is back");
  await until("every calendar is brought up to date", async () => {
    const current = await listRows(direct).catch(() => []);
    return (
      current.length >= rows.length &&
      current.every(({ currentAsOf, state }) => state === "fresh" && (currentAsOf ?? 0) > backAt)
    );
  });
  const recoveredMs = performance.now();
  say(`recovered after ${String(Math.round(recoveredMs - backMs))} ms`);
  return {
    calmMs,
    slowMs,
    reactedMs,
    inFlightWhenSlow,
    stoppedMs,
    inFlightAtStop,
    restartMs,
    backMs,
    recoveredMs,
  };
}

interface Sent {
  readonly whileCalm: number;
  readonly whileSlow: number;
  readonly whileDown: number;
  readonly inFlightWhenSlow: number;
  readonly inFlightAtStop: number;
}

function countSent({ recorder }: SlowWorld, times: Times): Sent {
  const between = (fromMs: number, toMs: number): number =>
    recorder.passed().filter(({ atMs }) => atMs >= fromMs && atMs < toMs).length;
  return {
    whileCalm: between(times.calmMs, times.slowMs),
    whileSlow: between(times.reactedMs, times.stoppedMs),
    whileDown: between(times.stoppedMs, times.restartMs),
    inFlightWhenSlow: times.inFlightWhenSlow,
    inFlightAtStop: times.inFlightAtStop,
  };
}

/** Runs that held a page while Postgres was down, and published it. */
function countKept({ runs }: SlowWorld, { stoppedMs, backMs }: Times): number {
  return runs.filter(
    ({ outcome, facts, endedMs, durationMs }) =>
      outcome === "published" &&
      Number(facts["requests"] ?? 0) > 0 &&
      endedMs - durationMs < stoppedMs - ADDED_MS &&
      endedMs >= backMs,
  ).length;
}

function listRows(store: Store): Promise<readonly CalendarRow[]> {
  return store.calendars.list({ limit: 1_000 });
}

function pause(durationMs: number): Promise<void> {
  return systemClock.sleep(durationMs, new AbortController().signal);
}

async function until(what: string, isSo: () => Promise<boolean>, lookEveryMs = 100): Promise<void> {
  const deadlineMs = performance.now() + SETTLE_MS;
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) throw new Error(`Not in time: ${what}`);
    await pause(lookEveryMs);
  }
}

/** Ask for every calendar once more and wait until all of it is served. */
async function settle(store: Store): Promise<void> {
  for (const { id } of await listRows(store)) {
    await store.calendars.request(id, { class: "push", dueAt: systemClock.now() });
  }
  await until("every request is served", async () => {
    const rows = await listRows(store);
    return rows.every(({ requested, served }) => served >= requested);
  });
}

/** Every calendar, event by event, as the account that sees it sees it now. */
async function compare(world: SlowWorld): Promise<readonly string[]> {
  const { direct } = world;
  const differences: string[] = [];
  for (const [index, { client }] of (await openAccountClients(googleOf(world))).entries()) {
    const tenant = tenantId(`tenant-${String(index % 3)}`);
    const account = await direct.accounts.find(tenant, accountName(`account-${String(index)}`));
    if (account === undefined) throw new Error(`account-${String(index)} is not connected`);
    const rows = await direct.calendars.list({ accountId: account.id, limit: 1_000 });
    for (const row of rows) {
      const copy = await readAll(direct, row);
      differences.push(...compareEvents(row.id, copy, await listAll(client, row.googleId)));
    }
  }
  return differences;
}

async function readAll(store: Store, { id }: CalendarRow): Promise<readonly GoogleEvent[]> {
  const page = await store.events.readEvents(id, { limit: 2_500 }, systemClock.now());
  if (page.kind === "unknown-calendar") throw new Error(`${id} is unknown to the store`);
  if (page.next !== undefined) throw new Error(`${id} has more events than this scenario makes`);
  return page.events;
}
