import type { CalendarRow } from "../../src/core/calendar-store.ts";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import type { FaultScript } from "../../src/simulator/fault-script.ts";
import type { LoggedRequest } from "../../src/simulator/request-log.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import type { Store } from "../../src/store/open-store.ts";
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";
import type { StackName, WorkAccount } from "../stacks/orders.ts";
import { runStack } from "../stacks/run-stack.ts";
import { readStorm, type StormReading } from "./read-storm.ts";
import {
  openStormWorld,
  type BreakerSeen,
  type StormExperiment,
  type StormWorld,
} from "./storm-world.ts";

/** The same for every stack: what is offered, what Google allows, and what goes wrong when. */
export interface StormPlan {
  readonly seed: number;
  readonly windowMs: number;
  readonly limit: number;
  readonly offeredPerSecond: number;
  readonly accounts: number;
  readonly calendarsPerAccount: number;
  readonly seconds: number;
  /** In order; each holds until the next. */
  readonly phases: readonly StormPhase[];
}

/** From this second on Google is like this. */
export interface StormPhase {
  readonly at: number;
  readonly name: string;
  readonly faults: FaultScript;
  /** Every calendar becomes due at once, in class `backfill`. */
  readonly isBackfill?: boolean;
}

/** What a run left behind. */
export interface StormRun {
  readonly reading: StormReading;
  /** All that arrived from the simulator's start on, token requests included. */
  readonly arrivals: number;
  readonly tokenRequests: number;
  /** Ballast's only: what the rollups in the database count. */
  readonly recorded: number;
  /** Ballast's only: how many more the rollups miss when one request goes past the guard. */
  readonly strayNoticed: number;
  readonly asked: number;
  /** Ballast's only: what came after a worker had opened the breaker, while the trouble lasted. */
  readonly breaker: { readonly requests: number; readonly probes: number } | undefined;
}

const PROCESSES = 2;
const LOG_KEPT = 500_000;

/** Nothing is wrong. */
export const CALM: FaultScript = { faults: [] };

/** Every list is answered 503. */
export const ALL_FAIL: FaultScript = {
  faults: [
    {
      match: { operation: "events.list" },
      answer: { kind: "error", status: 503, reason: "backendError" },
    },
  ],
};

/** Run Ballast's workers through a storm. */
export async function stormBallast(
  plan: StormPlan,
  options: { readonly experiment: StormExperiment; readonly say: (line: string) => void },
): Promise<StormRun> {
  const simulator = await openGoogle(plan);
  let world: StormWorld | undefined;
  try {
    world = await openStormWorld({ ...plan, ...options, simulator, workers: PROCESSES });
    const { store, calendars, ask } = world;
    options.say(`${String(calendars.length)} calendars published`);
    const beganAtMs = begin(simulator, plan);
    let asked = 0;
    const offered = offer(plan, calendars, async (calendar, turn) => {
      asked += 1;
      await ask(calendar, turn % 4 === 0 ? "interactive" : turn % 4 === 1 ? "poll" : "push");
    });
    await Promise.all([
      offered,
      goThrough(plan, simulator, {
        say: options.say,
        backfill: async () => {
          for (const calendar of calendars) await ask(calendar, "backfill");
        },
      }),
    ]);
    const reading = readStorm(logOf(simulator), { beganAtMs, seconds: plan.seconds });
    const seen = await world.drain();
    const { arrivals, tokenRequests } = simulator.counters();
    const { first, retry } = await store.usage.attempts(epochMs(0));
    const recorded = first + retry;
    const breaker = afterOpening(logOf(simulator), seen, troubleOf(plan, beganAtMs));
    const strayNoticed = await noticeStray(simulator, store);
    return { reading, arrivals, tokenRequests, recorded, strayNoticed, asked, breaker };
  } finally {
    await world?.close();
    await simulator.close();
  }
}

/** Run a peer through the same storm, on the same schedule. */
export async function stormPeer(
  plan: StormPlan,
  options: { readonly stack: Exclude<StackName, "ballast">; readonly say: (line: string) => void },
): Promise<StormRun> {
  const simulator = await openGoogle(plan);
  try {
    const accounts = accountsOf(simulator);
    const perProcess = plan.offeredPerSecond / PROCESSES / accounts.length;
    let beganAtMs = 0;
    const reports = await runStack({
      program: await obtainFleetRedis(),
      processes: PROCESSES,
      runMs: plan.seconds * 1_000,
      orders: {
        stack: options.stack,
        google: { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
        accounts,
        limit: plan.limit,
        windowMs: plan.windowMs,
        class: "push",
      },
      loadsOf: (index) => {
        const everyMs = 1_000 / perProcess;
        return accounts.map(({ tenant }, turn) => ({
          tenant,
          // One after the other, not all at once.
          fromMs: ((turn + index / PROCESSES) / accounts.length) * everyMs,
          toMs: plan.seconds * 1_000,
          perSecond: perProcess,
        }));
      },
      settings: {},
      meanwhile: async () => {
        beganAtMs = begin(simulator, plan);
        await goThrough(plan, simulator, { say: options.say });
      },
    });
    const reading = readStorm(logOf(simulator), { beganAtMs, seconds: plan.seconds });
    const { arrivals, tokenRequests } = simulator.counters();
    const asked = reports.reduce(
      (sum, { calls, unfinished }) => sum + calls.length + unfinished,
      0,
    );
    return {
      reading,
      arrivals,
      tokenRequests,
      recorded: 0,
      strayNoticed: 0,
      asked,
      breaker: undefined,
    };
  } finally {
    await simulator.close();
  }
}

/** Nobody but a program that goes past the guard sends anything now. */
async function noticeStray(simulator: Simulator, store: Store): Promise<number> {
  const missing = async (): Promise<number> => {
    const { arrivals, tokenRequests } = simulator.counters();
    const { first, retry } = await store.usage.attempts(epochMs(0));
    return arrivals + tokenRequests - first - retry;
  };
  const before = await missing();
  await fetch(`${simulator.url}calendar/v3/users/me/calendarList`);
  return (await missing()) - before;
}

/** What was written before the breaker opened arrives within J + D of the shortest setting. */
const IN_FLIGHT_MS = 300;

function afterOpening(
  requests: readonly LoggedRequest[],
  seen: readonly BreakerSeen[],
  trouble: { readonly fromMs: number; readonly toMs: number },
): StormRun["breaker"] {
  const within = (atMs: number): boolean => atMs >= trouble.fromMs && atMs < trouble.toMs;
  const opened = seen.flatMap(({ openedAtMs }) => openedAtMs).filter(within);
  if (opened.length === 0) return undefined;
  const fromMs = Math.min(...opened) + IN_FLIGHT_MS;
  const isAfter = (atMs: number): boolean => atMs >= fromMs && atMs < trouble.toMs;
  return {
    requests: requests.filter(({ operation, atMs }) => operation === "events.list" && isAfter(atMs))
      .length,
    probes: seen.flatMap(({ probedAtMs }) => probedAtMs).filter(isAfter).length,
  };
}

/** From the first phase with faults to the next one without. */
function troubleOf(
  { phases, seconds }: StormPlan,
  beganAtMs: number,
): { readonly fromMs: number; readonly toMs: number } {
  const from = phases.findIndex(({ faults }) => faults.faults.length > 0);
  const { at = seconds } = phases[from] ?? {};
  const to = phases.slice(from + 1).find(({ faults }) => faults.faults.length === 0);
  return { fromMs: beganAtMs + at * 1_000, toMs: beganAtMs + (to?.at ?? seconds) * 1_000 };
}

function openGoogle({ seed, accounts, calendarsPerAccount }: StormPlan): Promise<Simulator> {
  return createSimulator({
    seed,
    keepRequests: LOG_KEPT,
    keepsHistory: false,
    generate: { accounts, calendars: calendarsPerAccount, events: 2 },
  });
}

/** From here on Google's limits hold. */
function begin(simulator: Simulator, { limit, windowMs }: StormPlan): number {
  simulator.quota.setLimits({
    projectPerWindow: limit,
    userPerWindow: limit,
    windowSeconds: windowMs / 1_000,
    // Not documented by Google: the worse is assumed, for every stack alike.
    countsRejected: true,
  });
  return simulator.world.nowMs();
}

async function goThrough(
  plan: StormPlan,
  simulator: Simulator,
  deps: { readonly say: (line: string) => void; readonly backfill?: () => Promise<void> },
): Promise<void> {
  const beganMs = performance.now();
  for (const { at, name, faults, isBackfill } of plan.phases) {
    await until(beganMs + at * 1_000);
    deps.say(`${String(at)} s: ${name}`);
    simulator.faults.install(faults);
    if (isBackfill === true) await deps.backfill?.();
  }
  await until(beganMs + plan.seconds * 1_000);
}

/** One calendar after the other at an even rate, whatever became of those before. */
async function offer(
  { offeredPerSecond, seconds }: StormPlan,
  calendars: readonly CalendarRow[],
  ask: (calendar: CalendarRow, turn: number) => Promise<void>,
): Promise<void> {
  const beganMs = performance.now();
  for (let turn = 0; turn < offeredPerSecond * seconds; turn += 1) {
    const calendar = calendars[turn % calendars.length];
    if (calendar === undefined) throw new Error("There are no calendars");
    await until(beganMs + (turn * 1_000) / offeredPerSecond);
    await ask(calendar, turn);
  }
}

async function until(momentMs: number): Promise<void> {
  const waitMs = momentMs - performance.now();
  if (waitMs > 0) await systemClock.sleep(waitMs, new AbortController().signal);
}

function logOf(simulator: Simulator): readonly LoggedRequest[] {
  return simulator.log.after(0, LOG_KEPT);
}

/** Each calendar is one account of a stack's own, so that all are asked for in turn. */
function accountsOf(simulator: Simulator): readonly WorkAccount[] {
  return simulator.accounts().flatMap(({ sub, refreshToken, listedById }, account) =>
    [...listedById.keys()].map((calendarId, index) => ({
      tenant: `tenant-${String(account)}-${String(index)}`,
      name: `account-${String(account)}-${String(index)}`,
      refreshToken,
      quotaUser: sub,
      calendarId,
    })),
  );
}
