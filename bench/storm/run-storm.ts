import { epochMs } from "../../src/core/clock.ts";
import type { LoggedRequest } from "../../src/simulator/request-log.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import type { Store } from "../../src/store/open-store.ts";
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";
import type { StackName } from "../stacks/orders.ts";
import { runStack } from "../stacks/run-stack.ts";
import { openConsumers, type StormConsumers } from "./consumers.ts";
import { readStorm, type StormReading } from "./read-storm.ts";
import type { StormPlan } from "./storm-plan.ts";
import { accountsOf, backfillLoads, divideWork, offer, until } from "./storm-work.ts";
import { slowDatabase } from "./slow-database.ts";
import {
  openStormWorld,
  type BreakerSeen,
  type StormExperiment,
  type StormWorld,
} from "./storm-world.ts";

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

/** Run Ballast's workers through a storm. */
export async function stormBallast(
  plan: StormPlan,
  options: { readonly experiment: StormExperiment; readonly say: (line: string) => void },
): Promise<StormRun> {
  const simulator = await openGoogle(plan);
  let world: StormWorld | undefined;
  let consumers: StormConsumers | undefined;
  try {
    world = await openStormWorld({ ...plan, ...options, simulator, workers: PROCESSES });
    const { store, databasePath } = world;
    consumers = openConsumers(world.redisPath, simulator);
    const work = divideWork(plan, { simulator, world, consumers });
    options.say(`${String(world.calendars.length)} calendars published`);
    const beganAtMs = begin(simulator, plan);
    const [asked] = await Promise.all([
      offer(plan, work),
      goThrough(plan, simulator, {
        say: options.say,
        backfill: async () => {
          await Promise.all(work.map(({ backfill }) => backfill()));
        },
        slowDatabase: async (forMs) => {
          const held = await slowDatabase(databasePath, forMs);
          options.say(`the database was held ${String(held)} times`);
        },
      }),
    ]);
    const reading = readStorm(logOf(simulator), {
      beganAtMs,
      seconds: plan.seconds,
      accounts: simulator.accounts().map(({ email }) => email),
    });
    await consumers.close();
    const seen = await world.drain();
    const { arrivals, tokenRequests } = simulator.counters();
    const { first, retry } = await store.usage.attempts(epochMs(0));
    const recorded = first + retry;
    const breaker = afterOpening(logOf(simulator), seen, troubleOf(plan, beganAtMs));
    const strayNoticed = await noticeStray(simulator, store);
    return { reading, arrivals, tokenRequests, recorded, strayNoticed, asked, breaker };
  } finally {
    await consumers?.close();
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
    // Each process goes round all calendars at its own share of the rate, half a round behind the other.
    const stepMs = (1_000 / plan.offeredPerSecond) * PROCESSES;
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
      loadsOf: (index) => [
        ...accounts.map(({ tenant }, turn) => ({
          tenant,
          // One after the other, not all at once.
          fromMs: ((turn + (index * accounts.length) / PROCESSES) % accounts.length) * stepMs,
          toMs: plan.seconds * 1_000,
          perSecond: perProcess,
        })),
        ...backfillLoads(
          plan,
          accounts.filter((_, turn) => turn % PROCESSES === index),
        ),
      ],
      settings: {},
      meanwhile: async () => {
        beganAtMs = begin(simulator, plan);
        await goThrough(plan, simulator, { say: options.say });
      },
    });
    const reading = readStorm(logOf(simulator), {
      beganAtMs,
      seconds: plan.seconds,
      accounts: simulator.accounts().map(({ email }) => email),
    });
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
  deps: {
    readonly say: (line: string) => void;
    readonly backfill?: () => Promise<void>;
    readonly slowDatabase?: (forMs: number) => Promise<void>;
  },
): Promise<void> {
  const beganMs = performance.now();
  const beside: Promise<void>[] = [];
  for (const [index, { at, name, faults, isBackfill, isDatabaseSlow }] of plan.phases.entries()) {
    await until(beganMs + at * 1_000);
    deps.say(`${String(at)} s: ${name}`);
    simulator.faults.install(faults);
    if (isBackfill === true && deps.backfill) beside.push(deps.backfill());
    const endsAt = plan.phases[index + 1]?.at ?? plan.seconds;
    if (isDatabaseSlow === true && deps.slowDatabase) {
      beside.push(deps.slowDatabase((endsAt - at) * 1_000));
    }
  }
  await until(beganMs + plan.seconds * 1_000);
  await Promise.all(beside);
}

function logOf(simulator: Simulator): readonly LoggedRequest[] {
  return simulator.log.after(0, LOG_KEPT);
}
