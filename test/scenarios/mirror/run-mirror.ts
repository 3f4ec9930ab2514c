import type { FinishedRun } from "../../../src/queue/run-worker.ts";
import type { CalendarRow } from "../../../src/core/calendar-store.ts";
import { systemClock } from "../../../src/core/clock.ts";
import type { GoogleEvent } from "../../../src/core/google-event.ts";
import {
  accountName,
  tenantId,
  type AccountId,
  type AccountName,
  type CalendarId,
  type TenantId,
} from "../../../src/core/ids.ts";
import type { Store } from "../../../src/store/open-store.ts";
import { compareEvents } from "../../support/compare-events.ts";
import { openScenarioHome } from "../../support/scenario-home.ts";
import { createBounds, createRandom, type Scenario } from "../scenario.ts";
import { listAll, type CalendarWriter } from "./calendar-writer.ts";
import type { Interval } from "./version-history.ts";
import {
  openAccountClients,
  openGoogleWorld,
  openWriters,
  type AccountClient,
} from "./google-world.ts";

/**
 * Mirror many calendars while they change; then compare every calendar, event by event.
 *
 * Writers change calendars through the Calendar API, tokens die, somebody reads all the time and
 * holds every answer against what can have been true (I4), and at the end mirror and Google agree.
 */
const SIZES = {
  full: {
    changes: 10_000,
    tokenDeaths: 80,
    fullReads: 40,
    reads: 2_000,
    nearPublish: 500,
    fullResyncs: 50,
  },
  short: {
    changes: 600,
    tokenDeaths: 30,
    fullReads: 10,
    reads: 300,
    nearPublish: 50,
    fullResyncs: 10,
  },
} as const;

const WRITERS_AT_ONCE = 6;
const NEAR_PUBLISH_MS = 50;
const SETTLE_MS = 120_000;

export const runMirror: Scenario = async (options) => {
  const startedAt = Date.now();
  const size = options.short ? SIZES.short : SIZES.full;
  const random = createRandom(options.seed);
  const world = await openGoogleWorld(options);
  try {
    const accounts = await openAccountClients(world);
    const writers = await openWriters(accounts);
    options.say(`${String(writers.size)} calendars to write, ${String(accounts.length)} accounts`);
    const runs: SeenRun[] = [];
    const home = await openScenarioHome(
      { google: world, unlimited: options.foreign === undefined },
      {
        onRunFinished: (run) => {
          runs.push({ ...run, finishedAt: Date.now() });
        },
      },
    );
    try {
      for (const [index, { refreshToken }] of accounts.entries()) {
        await home.connect(tenantOf(index), nameOf(index), refreshToken);
      }
      const expected = accounts.reduce((sum, { listed }) => sum + listed.length, 0);
      const rows = await waitUntilPublished(home.store, expected);
      options.say(`${String(rows.length)} calendars published`);
      const firstRuns = runs.length;

      const owners = await findOwners(home.store, accounts);
      // Of a shared calendar's private events other accounts see less, under other etags: what they
      // see is compared at the end, what the writer's own account sees is judged at every read.
      const judged = rows.filter(
        (row) => writers.get(row.googleId)?.account === owners.get(row.accountId),
      );
      const reader = startReader({ store: home.store, judged, writers, runs, random });
      const reading = await readWhile(reader, async () => {
        await makeChanges({
          ...size,
          random,
          writers,
          rows,
          store: home.store,
          killTokens: world.killTokens,
          readSoFar: () => reader.reads(),
        });
        await settle(home.store);
      });
      const differences = await compare(home.store, owners);
      for (const line of [...reading.problems, ...differences].slice(0, 20)) options.say(line);

      const figures = {
        calendars: rows.length,
        events: await countEvents(home.store),
        changes: size.changes,
        fullResyncs: countFullResyncs(runs.slice(firstRuns)),
        reads: reading.reads,
        readsNearPublish: reading.nearPublish,
        differences: differences.length,
        emptyReads: reading.emptyReads,
        partialReads: reading.partialReads,
        requests: runs.reduce((sum, { facts }) => sum + Number(facts["requests"] ?? 0), 0),
        seconds: Math.round((Date.now() - startedAt) / 1_000),
      };
      const bounds = createBounds();
      bounds.atLeast("calendars", figures.calendars, 50);
      bounds.atLeast("reads", figures.reads, size.reads);
      bounds.atLeast("readsNearPublish", figures.readsNearPublish, size.nearPublish);
      bounds.atLeast("fullResyncs", figures.fullResyncs, size.fullResyncs);
      bounds.atMost("differences", figures.differences, 0);
      bounds.atMost("emptyReads", figures.emptyReads, 0);
      bounds.atMost("partialReads", figures.partialReads, 0);
      return { figures, missed: bounds.missed };
    } finally {
      await home.close();
    }
  } finally {
    await world.close();
  }
};

const tenantOf = (index: number): TenantId => tenantId(`tenant-${String(index % 3)}`);
const nameOf = (index: number): AccountName => accountName(`account-${String(index)}`);

async function listCalendars(store: Store): Promise<readonly CalendarRow[]> {
  return store.calendars.list({ limit: 1_000 });
}

async function waitUntilPublished(store: Store, expected: number): Promise<readonly CalendarRow[]> {
  const deadline = Date.now() + SETTLE_MS;
  for (;;) {
    const rows = await listCalendars(store);
    const published = rows.filter(({ generation }) => generation > 0);
    if (published.length >= expected) return rows;
    if (Date.now() > deadline) {
      throw new Error(
        `Only ${String(published.length)} of ${String(expected)} calendars were published`,
      );
    }
    await pause(100);
  }
}

function pause(durationMs: number): Promise<void> {
  return systemClock.sleep(durationMs, AbortSignal.timeout(durationMs + 60_000));
}

interface Changing {
  readonly changes: number;
  readonly tokenDeaths: number;
  readonly fullReads: number;
  readonly random: () => number;
  readonly writers: ReadonlyMap<string, CalendarWriter>;
  readonly rows: readonly CalendarRow[];
  readonly store: Store;
  readonly killTokens: ((count: number) => void) | undefined;
  /** How many reads there were so far, of how many that are wanted by the last change. */
  readonly readSoFar: () => number;
  readonly reads: number;
}

/** Change calendars, several at once but each by one writer, and tell Ballast as a notification would. */
async function makeChanges(changing: Changing): Promise<void> {
  const { random, store } = changing;
  const free = [...changing.writers.values()];
  const rowsByGoogleId = Map.groupBy(changing.rows, ({ googleId }) => String(googleId));
  const deathEvery = Math.ceil(changing.changes / changing.tokenDeaths);
  const fullEvery = Math.ceil(
    changing.changes /
      (changing.killTokens === undefined ? changing.tokenDeaths : changing.fullReads),
  );
  let made = 0;

  const work = async (): Promise<void> => {
    while (made < changing.changes) {
      made += 1;
      const turn = made;
      const [writer] = free.splice(Math.floor(random() * free.length), 1);
      if (writer === undefined) return;
      // However slow the machine is, readers and writers meet: neither runs ahead of the other.
      while (changing.readSoFar() < (turn / changing.changes) * changing.reads) await pause(5);
      try {
        await writer.change(random);
      } finally {
        free.push(writer);
      }
      const seen = rowsByGoogleId.get(writer.googleId) ?? [];
      for (const { id } of seen) {
        const mode = turn % fullEvery === 0 ? "full" : "incremental";
        await store.calendars.request(id, { class: "push", dueAt: systemClock.now(), mode });
      }
      if (turn % deathEvery === 0) changing.killTokens?.(1);
    }
  };
  await Promise.all(Array.from({ length: WRITERS_AT_ONCE }, work));
}

interface Reading {
  readonly reads: number;
  readonly nearPublish: number;
  readonly emptyReads: number;
  readonly partialReads: number;
  readonly problems: readonly string[];
}

interface SeenRun extends FinishedRun {
  readonly finishedAt: number;
}

/** One read, kept until it can be judged. */
interface TakenRead {
  readonly row: CalendarRow;
  readonly generation: number;
  readonly events: readonly GoogleEvent[];
  readonly readAt: number;
  readonly interval: Interval;
}

/** Read all the time, whatever was just published first, and judge every answer. */
function startReader(context: {
  readonly store: Store;
  readonly judged: readonly CalendarRow[];
  readonly writers: ReadonlyMap<string, CalendarWriter>;
  readonly runs: readonly SeenRun[];
  readonly random: () => number;
}): { reads(): number; stop(): Promise<Reading> } {
  const { store, judged, writers, runs } = context;
  const byId = new Map(judged.map((row) => [String(row.id), row]));
  const tally = { reads: 0, emptyReads: 0, partialReads: 0 };
  const problems: string[] = [];
  const taken: TakenRead[] = [];
  const state = { isStopping: false, seenRuns: runs.length };

  /** What was published last, if anything was since the read before; else any calendar. */
  const next = (): CalendarRow | undefined => {
    const latest = runs.length > state.seenRuns ? runs.at(-1) : undefined;
    state.seenRuns = runs.length;
    const published =
      latest?.outcome === "published" ? byId.get(String(latest.facts["calendarId"])) : undefined;
    return published ?? judged[Math.floor(context.random() * judged.length)];
  };

  const read = async (row: CalendarRow): Promise<void> => {
    const now = systemClock.now();
    const copy = await readAll(store, row.id);
    if (copy === undefined) return;
    const { freshness, events } = copy;
    tally.reads += 1;
    taken.push({
      readAt: now,
      row,
      generation: freshness.generation,
      events: events.map(({ id, etag }) => ({ id, etag: etag ?? null })),
      interval: { from: now - (freshness.ageMs ?? 0), to: Date.now() },
    });
  };

  const countNearPublish = (): number => {
    const publishes = Map.groupBy(
      runs.filter(({ outcome }) => outcome === "published"),
      ({ facts }) => String(facts["calendarId"]),
    );
    // A read touches a publish when both fall within 50 ms of each other, whichever came first.
    return taken.filter(({ row, readAt, interval }) =>
      (publishes.get(row.id) ?? []).some(
        ({ finishedAt }) =>
          finishedAt >= readAt - NEAR_PUBLISH_MS && finishedAt <= interval.to + NEAR_PUBLISH_MS,
      ),
    ).length;
  };

  /** Judged last: a mirror may hold a version before its own writer has been told that it exists. */
  const judge = (): void => {
    for (const { row, generation, events, interval } of taken) {
      const verdict = writers.get(row.googleId)?.history.judge(events, interval);
      if (verdict?.isEmpty === true) tally.emptyReads += 1;
      const [problem] = verdict?.problems ?? [];
      if (problem !== undefined) {
        tally.partialReads += 1;
        problems.push(`${row.id} generation ${String(generation)}: ${problem}`);
      }
    }
  };

  const loop = async (): Promise<void> => {
    while (!state.isStopping) {
      const row = next();
      if (row !== undefined) await read(row);
      await pause(2);
    }
  };
  const ended = loop();
  return {
    reads: () => tally.reads,
    async stop() {
      state.isStopping = true;
      await ended;
      judge();
      return { ...tally, nearPublish: countNearPublish(), problems };
    },
  };
}

/** The whole copy from one generation, or undefined when it moved between two pages. */
async function readAll(
  store: Store,
  id: CalendarId,
): Promise<{ freshness: Freshness; events: readonly GoogleEvent[] } | undefined> {
  const events: GoogleEvent[] = [];
  let first: Freshness | undefined;
  let after: string | undefined;
  for (;;) {
    const page = await store.events.readEvents(id, { after, limit: 2_500 }, systemClock.now());
    if (page.kind === "unknown-calendar") throw new Error(`${id} is unknown to the store`);
    first ??= page.freshness;
    if (page.freshness.generation !== first.generation) return undefined;
    events.push(...page.events);
    if (page.next === undefined) return { freshness: first, events };
    after = page.next;
  }
}

type Freshness = Extract<
  Awaited<ReturnType<Store["events"]["readEvents"]>>,
  { kind: "events" }
>["freshness"];

/** The reader ends with the work, also with one that fails. */
async function readWhile(
  reader: { stop(): Promise<Reading> },
  work: () => Promise<void>,
): Promise<Reading> {
  try {
    await work();
  } catch (error) {
    await reader.stop();
    throw error;
  }
  return reader.stop();
}

/** Ask for every calendar once more, as a person would, and wait until all of it is served. */
async function settle(store: Store): Promise<void> {
  for (const { id } of await listCalendars(store)) {
    await store.calendars.request(id, { class: "interactive", dueAt: systemClock.now() });
  }
  const deadline = Date.now() + SETTLE_MS;
  for (;;) {
    const unserved = (await listCalendars(store)).filter(
      ({ requested, served }) => served < requested,
    );
    if (unserved.length === 0) return;
    if (Date.now() > deadline) {
      const [row] = unserved;
      throw new Error(
        `${String(unserved.length)} calendars were not served in time, such as ${String(row?.id)}: ${String(row?.state)} ${String(row?.stateReason)}`,
      );
    }
    await pause(100);
  }
}

/** Which account of the scenario each of Ballast's accounts is. */
async function findOwners(
  store: Store,
  accounts: readonly AccountClient[],
): Promise<ReadonlyMap<AccountId, AccountClient>> {
  const owners = new Map<AccountId, AccountClient>();
  for (const [index, account] of accounts.entries()) {
    const row = await store.accounts.find(tenantOf(index), nameOf(index));
    if (row !== undefined) owners.set(row.id, account);
  }
  return owners;
}

/** Every calendar, event by event, as the account that sees it sees it now. */
async function compare(
  store: Store,
  owners: ReadonlyMap<AccountId, AccountClient>,
): Promise<readonly string[]> {
  const rows = await listCalendars(store);
  const differences: string[] = [];
  for (const row of rows) {
    const account = owners.get(row.accountId);
    if (account === undefined) throw new Error(`${row.accountId} is nobody's account`);
    const copy = await readAll(store, row.id);
    const truth = await listAll(account.client, row.googleId);
    differences.push(...compareEvents(row.id, copy?.events ?? [], truth));
  }
  return differences;
}

async function countEvents(store: Store): Promise<number> {
  let total = 0;
  for (const { id } of await listCalendars(store)) {
    total += (await readAll(store, id))?.events.length ?? 0;
  }
  return total;
}

function countFullResyncs(runs: readonly SeenRun[]): number {
  return runs.filter(({ outcome, facts }) => outcome === "published" && facts["refresh"] === "full")
    .length;
}
