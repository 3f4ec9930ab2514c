import { systemClock } from "../../../src/core/clock.ts";
import { calendarId as toCalendarId, type CalendarId } from "../../../src/core/ids.ts";
import { createBounds, type Scenario, type ScenarioOptions } from "../scenario.ts";
import {
  CALENDARS_PER_ACCOUNT,
  openLanesWorld,
  type LanesWorld,
  type SeenRun,
} from "./lanes-world.ts";

/**
 * One tenant with a hundred thousand calendars that are due, and a quiet one whose single refreshes fall due
 * beside it.
 *
 * waiting: calendars of the big tenant that are still due when all is measured. quietP99Ms, calmP99Ms: from a
 * quiet calendar's due time to the start of its job, beside the big tenant and before it came; quietDoneP99Ms: to
 * its publish. jumped: calendars of the big tenant whose background job waited and which a person's refresh
 * overtook, of `asked`. passedBy: the most jobs of the big tenant that began between a quiet calendar's due time
 * and its job's start. behindMs, behindBy: the control: how long, and behind how many jobs, a calendar waits in
 * vain that falls due in the order of due times, at the end of the big tenant's own line.
 */
interface Lanes {
  /** Accounts of the big tenant, a hundred calendars each. */
  readonly accounts: number;
  /** So many are due at the end. */
  readonly waiting: number;
  readonly probes: number;
  readonly probeEveryMs: number;
  readonly asked: number;
  /** Jobs that the control sees pass. */
  readonly control: number;
}

const FULL: Lanes = {
  accounts: 1_200,
  waiting: 100_000,
  probes: 200,
  probeEveryMs: 250,
  asked: 40,
  control: 1_000,
};
const SHORT: Lanes = {
  accounts: 23,
  waiting: 2_000,
  probes: 8,
  probeEveryMs: 50,
  asked: 3,
  control: 60,
};

const CONCURRENCY = 10;
/** Those that wait in the queue and those that run when a calendar falls due, and what begins until the next look. */
const MAY_PASS = 4 * CONCURRENCY;
/** Every fourth falls due because Google told of it. */
const PUSH_EVERY = 4;
/** So long takes each job while persons ask: those behind it wait, whatever stalls on this machine meanwhile. */
const SLOW_ANSWER_MS = 2_000;
/** A job that began sooner than this after a person asked was not overtaken, it was about to begin. */
const WAITED_MS = 1_000;
/** As many as are served at once. */
const ASKED_AT_ONCE = 3;
const QUIET_MS = 500;
const WITHIN_MS = 240_000;
const LOOK_EVERY_MS = 5;

export const runLanes: Scenario = async (options) => {
  if (options.foreign !== undefined) throw new Error("lanes needs calendars of its own simulator");
  const lanes = options.short ? SHORT : FULL;
  const seen = await measure(options, lanes);
  const bounds = createBounds();
  bounds.atLeast("waiting", seen.waiting, lanes.waiting);
  bounds.atMost("passedBy", seen.passedBy, MAY_PASS);
  bounds.atLeast("asked", seen.asked, lanes.asked);
  bounds.atLeast("jumped", seen.jumped, seen.asked);
  bounds.atLeast("the control's behindBy", seen.behindBy, MAY_PASS + 1);
  bounds.atMost("refused", seen.refused, seen.ran / 20);
  if (!options.short) {
    bounds.atMost("quietP99Ms", seen.quietP99Ms, QUIET_MS);
    bounds.atLeast("the control's behindMs", seen.behindMs, 4 * QUIET_MS);
  }
  return { figures: { ...seen }, missed: bounds.missed };
};

interface Figures {
  readonly waiting: number;
  readonly quietP99Ms: number;
  readonly jumped: number;
  readonly calmP99Ms: number;
  readonly quietDoneP99Ms: number;
  readonly asked: number;
  readonly passedBy: number;
  readonly behindMs: number;
  readonly behindBy: number;
  /** Jobs that have run, and those that the budget sent back to the database. */
  readonly ran: number;
  readonly refused: number;
}

async function measure({ seed, say }: ScenarioOptions, lanes: Lanes): Promise<Figures> {
  const world = await openLanesWorld({ seed, concurrency: CONCURRENCY, say });
  try {
    const quiet = await world.fill("quiet", 1);
    world.startWorker();
    await untilRun(world, "every quiet calendar is published", (runs) => {
      const published = new Set(runs.filter(isPublished).map(({ calendarId }) => calendarId));
      return quiet.every((id) => published.has(id));
    });
    const calm = await probe(world, lanes, quiet);
    await world.stopWorker();

    say(`${String(lanes.accounts * CALENDARS_PER_ACCOUNT)} calendars of one tenant fall due`);
    const big = new Set<string>(await world.fill("big", lanes.accounts));
    const before = world.runs.length;
    const ofBig = (): readonly SeenRun[] =>
      world.runs.slice(before).filter((run) => big.has(run.calendarId ?? ""));
    world.startWorker();
    await untilRun(world, "the big tenant is served", () => ofBig().length >= 2 * CONCURRENCY);
    const busy = await probe(world, lanes, quiet);
    const control = await waitBehind(world, lanes, big);
    say("persons ask for calendars that wait in the queue");
    await answerSlowly(world);
    const jumps = await jump(world, lanes, big);
    await world.stopWorker();

    const starts = ofBig().filter(({ queue }) => queue === "background");
    return {
      waiting: await countWaiting(world),
      quietP99Ms: p99(busy.map(({ dueAt, run }) => run.startedAt - dueAt)),
      calmP99Ms: p99(calm.map(({ dueAt, run }) => run.startedAt - dueAt)),
      quietDoneP99Ms: p99(busy.map(({ dueAt, run }) => run.endedAt - dueAt)),
      ...jumps,
      passedBy: Math.max(
        ...busy.map(({ dueAt, run }) => beganBetween(starts, dueAt, run.startedAt)),
      ),
      ...control,
      ran: world.runs.length - before,
      refused: world.runs.slice(before).filter(({ code }) => code === "BALLAST_BUDGET_SPENT")
        .length,
    };
  } finally {
    await world.close();
  }
}

interface Served {
  readonly dueAt: number;
  readonly run: SeenRun;
}

/** Quiet calendars fall due one after the other, each when the one before was served. */
async function probe(
  world: LanesWorld,
  lanes: Lanes,
  quiet: readonly CalendarId[],
): Promise<readonly Served[]> {
  const served: Served[] = [];
  for (let number = 0; number < lanes.probes; number += 1) {
    const id = quiet[number % quiet.length];
    if (id === undefined) throw new Error("The quiet tenant has no calendar");
    const seen = world.runs.length;
    const dueAt = await world.makeDue(id, number % PUSH_EVERY === 0 ? "push" : "poll");
    const run = await untilRun(world, `${id} is refreshed`, (runs) =>
      runs.slice(seen).find((one) => one.calendarId === id && isPublished(one)),
    );
    served.push({ dueAt, run });
    await pause(lanes.probeEveryMs);
  }
  return served;
}

/** Ask, as persons do, for calendars whose jobs are the last in the queue. */
async function jump(
  world: LanesWorld,
  lanes: Lanes,
  big: ReadonlySet<string>,
): Promise<Pick<Figures, "asked" | "jumped">> {
  const asked: Overtaking[] = [];
  for (let tries = 0; asked.length < lanes.asked && tries < 3 * lanes.asked; tries += 1) {
    await untilRun(world, "jobs wait in the queue", async () => {
      return (await world.queued()).filter((id) => big.has(id)).length > 2 * ASKED_AT_ONCE;
    });
    const last = (await world.queued()).filter((id) => big.has(id)).slice(-ASKED_AT_ONCE);
    const both = await Promise.all(last.map((id) => overtake(world, id)));
    asked.push(...both.filter(({ at, job }) => job.startedAt - at >= WAITED_MS));
  }
  const jumped = asked.filter(
    ({ person, job }) => isPublished(person) && person.startedAt < job.startedAt,
  );
  return { asked: asked.length, jumped: jumped.length };
}

interface Overtaking {
  readonly at: number;
  readonly person: SeenRun;
  /** The one that waited already. */
  readonly job: SeenRun;
}

async function overtake(world: LanesWorld, id: CalendarId): Promise<Overtaking> {
  const seen = world.runs.length;
  const at = await world.makeDue(id, "interactive");
  return untilRun(world, `${id} is refreshed, and its job gone`, (runs) => {
    const of = runs.slice(seen).filter(({ calendarId }) => calendarId === id);
    const person = of.find(({ queue }) => queue === "interactive");
    const job = of.find(({ queue }) => queue === "background");
    return person === undefined || job === undefined ? undefined : { at, person, job };
  });
}

/** The control: a calendar of the big tenant that falls due after its others is served in the order of due times. */
async function waitBehind(
  world: LanesWorld,
  lanes: Lanes,
  big: ReadonlySet<string>,
): Promise<Pick<Figures, "behindMs" | "behindBy">> {
  const last = world.runs.findLast((run) => isPublished(run) && big.has(run.calendarId ?? ""));
  const id = [...big].find((one) => one === last?.calendarId);
  if (id === undefined) throw new Error("No calendar of the big tenant was refreshed");
  const seen = world.runs.length;
  const dueAt = await world.makeDue(toCalendarId(id), "poll");
  const passed = (): number =>
    beganBetween(
      world.runs.slice(seen).filter(({ calendarId: of = "" }) => of !== id && big.has(of)),
      dueAt,
      Number.MAX_SAFE_INTEGER,
    );
  const served = await untilRun(world, "the line before the last one moves", (runs) => {
    const found = runs.slice(seen).find((run) => run.calendarId === id);
    if (found !== undefined) return found;
    return passed() >= lanes.control ? ("still waits" as const) : undefined;
  });
  return {
    behindMs: Math.round((served === "still waits" ? systemClock.now() : served.startedAt) - dueAt),
    behindBy: passed(),
  };
}

function answerSlowly({ google }: LanesWorld): Promise<void> {
  return google.setFaults({
    faults: [
      {
        match: { operation: "events.list" },
        answer: { kind: "latency", latency: { distribution: "fixed", ms: SLOW_ANSWER_MS } },
      },
    ],
  });
}

/** Counted one by one: a status says no more than that there are more than ten thousand. */
async function countWaiting({ store }: LanesWorld): Promise<number> {
  let count = 0;
  let after: CalendarId | undefined;
  for (;;) {
    const rows = await store.calendars.list({ limit: 1_000, ...(after && { after }) });
    after = rows.at(-1)?.id;
    if (after === undefined) break;
    const now = systemClock.now();
    count += rows.filter(({ dueAt }) => dueAt !== undefined && dueAt <= now).length;
  }
  return count;
}

function isPublished({ job, outcome }: SeenRun): boolean {
  return job === "refresh-calendar" && outcome === "published";
}

function beganBetween(runs: readonly SeenRun[], from: number, to: number): number {
  return runs.filter(({ startedAt }) => startedAt >= from && startedAt < to).length;
}

function p99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? 0);
}

function pause(durationMs: number): Promise<void> {
  return systemClock.sleep(durationMs, new AbortController().signal);
}

async function untilRun<Found>(
  { runs }: LanesWorld,
  what: string,
  find: (
    runs: readonly SeenRun[],
  ) => Found | undefined | false | Promise<Found | undefined | false>,
): Promise<Found> {
  const deadlineMs = performance.now() + WITHIN_MS;
  for (;;) {
    const found = await find(runs);
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadlineMs) throw new Error(`Not in time: ${what}`);
    await pause(LOOK_EVERY_MS);
  }
}
