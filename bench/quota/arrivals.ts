/**
 * Number 1 and 11 of the budget's table: the most arrivals in any window, over saturated processes, under every fault,
 * and how long nothing arrives when Redis was away. Negative control: the same fleet with the use-by off.
 */
import { systemClock } from "../../src/core/clock.ts";
import {
  burstBegins,
  obtainFleetRedis,
  openings,
  runFleetOnce,
  USE_WITHIN_MS,
  type Fleet,
  type FleetOptions,
  type FleetRun,
} from "../../test/support/quota-fleet/run-fleet.ts";
import { inTurn } from "../in-turn.ts";
import { runUntilJudgeable, unlessStalled } from "../judge-run.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";

interface Scale {
  readonly windowMs: number;
  readonly limit: number;
  readonly senders: number;
  readonly spanMs: number;
  /** D: a longer stall of the server that counts proves nothing. */
  readonly transitMs: number;
}

const FULL: Scale = { windowMs: 10_000, limit: 1_000, senders: 8, spanMs: 10_300, transitMs: 100 };
/** Its runs share the processors, so it allows for longer stalls. */
const SHORT: Scale = { windowMs: 3_000, limit: 200, senders: 3, spanMs: 3_600, transitMs: 400 };
const REDIS_AWAY_MS = 4_000;
/** Below the limit, so that arrivals are even and a silence is the fault's. */
const GENTLE = { concurrency: 1, sendDelayMs: 300 };

interface Fault {
  readonly name: string;
  readonly options?: FleetOptions;
  readonly run: (fleet: Fleet, scale: Scale) => Promise<void>;
  /** In the short form too. */
  readonly isShort?: boolean;
}

const sleep = (ms: number): Promise<void> => systemClock.sleep(ms, new AbortController().signal);

const stopAll = async (fleet: Fleet, { limit, spanMs }: Scale, ms: number): Promise<void> => {
  await burstBegins(fleet.google, limit / 10);
  for (const { child } of fleet.senders) child.kill("SIGSTOP");
  await sleep(ms);
  for (const { child } of fleet.senders) child.kill("SIGCONT");
  await sleep(spanMs);
};

const FAULTS: readonly Fault[] = [
  { name: "nothing wrong", run: (_fleet, { spanMs }) => sleep(2 * spanMs) },
  {
    name: "kill -9 of half the processes, one by one",
    run: async (fleet, { senders, spanMs }) => {
      for (const { child } of fleet.senders.slice(0, senders / 2)) {
        child.kill("SIGKILL");
        fleet.start();
        await sleep(spanMs / 2);
      }
    },
  },
  {
    name: "SIGSTOP of everyone, 0.3 to 5 s",
    options: { orders: { sendDelayMs: 300 } },
    run: async (fleet, scale) => {
      for (const ms of [300, 1_000, 5_000]) await stopAll(fleet, scale, ms);
    },
  },
  {
    name: "FLUSHALL three times, everyone alive",
    isShort: true,
    run: async (fleet, { spanMs }) => {
      for (let round = 0; round < 3; round += 1) {
        await fleet.admin.flushall();
        await sleep(spanMs / 2);
      }
      await sleep(spanMs);
    },
  },
  {
    name: "kill -9 100 ms before a FLUSHALL",
    isShort: true,
    run: async (fleet, { spanMs }) => {
      fleet.senders[0]?.child.kill("SIGKILL");
      await sleep(100);
      await fleet.admin.flushall();
      await sleep(2 * spanMs);
    },
  },
  ...[true, false].map((keepData): Fault => ({
    name: `Redis killed for 4 s, ${keepData ? "with" : "without"} its file`,
    options: { persistent: true },
    run: async (fleet, { spanMs }) => {
      await loseRedis(fleet, keepData);
      await sleep(2 * spanMs);
    },
  })),
  {
    name: "replica promoted without its last second",
    options: { isReplicated: true },
    run: async (fleet, { spanMs }) => {
      await fleet.promote();
      await sleep(2 * spanMs);
    },
  },
  {
    name: "clocks of half the processes ±90 s, to and fro",
    run: async (fleet, { senders, spanMs }) => {
      for (const [index, { child }] of fleet.senders.slice(0, senders / 2).entries()) {
        child.kill("SIGKILL");
        fleet.start({ clockStepMs: index % 2 === 0 ? 90_000 : -90_000 });
      }
      await sleep(2.5 * spanMs);
    },
  },
  ...[2_000, -2_000, 90_000, -90_000].map((offsetMs): Fault => ({
    name: `Redis's clock ${offsetMs > 0 ? "+" : ""}${offsetMs / 1_000} s`,
    run: async (fleet, { spanMs }) => {
      await fleet.admin.set("test:clock-offset", offsetMs);
      await sleep(1.5 * spanMs);
    },
  })),
];

const CONTROL: Fault = {
  name: "SIGSTOP of everyone",
  options: { orders: { sendDelayMs: 600, isUseByKept: false } },
  run: (fleet, scale) => stopAll(fleet, scale, 2_500),
};

async function loseRedis(fleet: Fleet, keepData: boolean): Promise<void> {
  await fleet.server.kill("SIGKILL");
  await sleep(REDIS_AWAY_MS);
  await fleet.server.restart({ keepData });
}

type FleetOf = (fault: Fault) => Promise<FleetRun & { readonly stallMs: number }>;

interface Setting {
  readonly scale: Scale;
  readonly fleetOf: FleetOf;
  readonly options: BenchOptions;
}

async function settle(options: BenchOptions): Promise<Setting> {
  const scale = options.isShort ? SHORT : FULL;
  const program = await obtainFleetRedis();
  const fleetOf: FleetOf = ({ run, options: setup }) =>
    runUntilJudgeable(
      async () => {
        const seen = await runFleetOnce({ program, ...scale, ...setup }, (fleet) =>
          run(fleet, scale),
        );
        return { ...seen, stallMs: seen.longestStallMs };
      },
      { transitMs: scale.transitMs, say: options.say },
    );
  return { scale, fleetOf, options };
}

/** Number 1: every fault, one fleet each. */
export async function runArrivals(options: BenchOptions): Promise<readonly NumberRow[]> {
  const { scale, fleetOf } = await settle(options);
  const faults = FAULTS.filter(({ isShort }) => !options.isShort || isShort === true);
  const judged = (fault: Fault, toRow: typeof rowOf) => async (): Promise<readonly NumberRow[]> => {
    const run = await fleetOf(fault);
    const row = unlessStalled(toRow(fault, run, scale), { ...run, transitMs: scale.transitMs });
    options.say(`1, ${fault.name}: ${row.measured}`);
    return [row];
  };
  return inTurn(
    [...faults.map((fault) => judged(fault, rowOf)), judged(CONTROL, controlRow)],
    options.isShort ? 2 : 1,
  );
}

/** Number 11. */
export async function runAway(options: BenchOptions): Promise<readonly NumberRow[]> {
  const setting = await settle(options);
  return inTurn(
    [false, true].map((died) => async () => [await awayRow(died, setting)]),
    options.isShort ? 2 : 1,
  );
}

function rowOf({ name }: Fault, run: FleetRun, { limit, windowMs, senders }: Scale): NumberRow {
  return {
    number: "1",
    measure: `most arrivals in any ${windowMs / 1_000} s, ${senders} processes: ${name}`,
    stack: "ballast",
    goal: `≤ ${limit}`,
    measured: `${run.most} of ${run.arrived}`,
    figures: { most: run.most, limit, arrived: run.arrived, stallMs: run.longestStallMs },
    isMet: run.most <= limit,
  };
}

function controlRow({ name }: Fault, run: FleetRun, { limit, windowMs }: Scale): NumberRow {
  return {
    number: "1",
    measure: `most arrivals in any ${windowMs / 1_000} s: ${name}`,
    stack: "control: use-by off",
    goal: "misses by ≥ 5 %",
    measured: `${run.most} (+${((run.most / limit - 1) * 100).toFixed(1)} %)`,
    figures: { most: run.most, limit, stallMs: run.longestStallMs },
    isMet: run.most >= limit * 1.05,
  };
}

/** Number 11: nothing leaves while Redis is away, and soon again afterwards. */
async function awayRow(died: boolean, { scale, fleetOf, options }: Setting): Promise<NumberRow> {
  let goneAtMs = 0;
  let backAtMs = 0;
  const seen = await fleetOf({
    name: "Redis away",
    options: { persistent: true, orders: GENTLE },
    run: async (fleet, { spanMs }) => {
      await sleep(2_000);
      if (died) fleet.senders[0]?.child.kill("SIGKILL");
      await sleep(100);
      goneAtMs = Date.now();
      await fleet.server.kill("SIGKILL");
      goneAtMs = Date.now();
      await sleep(REDIS_AWAY_MS);
      backAtMs = Date.now();
      await fleet.server.restart({ keepData: false });
      await sleep(died ? spanMs + 6_000 : 6_000);
    },
  });
  // A permit granted just before may be used until its use-by, and is under way for as long as transit takes.
  const meanwhile = seen.epochTimes.filter(
    (at) => at > goneAtMs + USE_WITHIN_MS + scale.transitMs && at < backAtMs,
  ).length;
  const firstAt = seen.epochTimes.find((at) => at >= backAtMs) ?? Infinity;
  const afterMs = firstAt - backAtMs;
  const boundMs = died ? scale.spanMs + 3_000 : 3_000;
  options.say(`11, ${died ? "one had died" : "all alive"}: ${Math.round(afterMs)} ms`);
  const row: NumberRow = {
    number: "11",
    measure: `Redis killed for 4 s, without its file, ${died ? "one asker had died" : "all askers alive"}: requests meanwhile; first one after`,
    stack: "ballast",
    goal: `0; ≤ ${(boundMs / 1_000).toFixed(1)} s`,
    measured: `${meanwhile}; ${(afterMs / 1_000).toFixed(1)} s (opened by ${openings(seen.events).at(-1) ?? "nobody"})`,
    figures: { meanwhile, afterMs, most: seen.most, limit: scale.limit },
    isMet:
      meanwhile === 0 &&
      seen.most <= scale.limit &&
      Number.isFinite(afterMs) &&
      (options.isShort || afterMs <= boundMs),
  };
  return unlessStalled(row, { ...seen, transitMs: scale.transitMs });
}
