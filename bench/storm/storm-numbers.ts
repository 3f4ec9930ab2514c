/**
 * Numbers 2a, 2b, 3 and 16 with real workers, and the others of the storm at the guard.
 *
 * What Google saw is read from the simulator's log: a request for a calendar whose last request failed is a
 * retry, whatever its sender calls it. So Ballast, its control and the peers are counted alike.
 */
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { STACK_PARTS, type StackName } from "../stacks/orders.ts";
import { runGuardNumbers } from "./guard-numbers.ts";
import { measureKilledWorkers } from "./killed-worker.ts";
import { secondsToRecover } from "./read-storm.ts";
import {
  ALL_FAIL,
  CALM,
  stormBallast,
  stormPeer,
  type StormPlan,
  type StormRun,
} from "./run-storm.ts";

interface Shape extends Omit<StormPlan, "seed" | "phases"> {
  readonly failsAt: number;
  readonly endsAt: number;
}

/** 60 % of the limit is offered; more calendars than fail before the breaker opens. */
const FULL: Shape = {
  windowMs: 60_000,
  limit: 1_000,
  offeredPerSecond: 10,
  accounts: 20,
  calendarsPerAccount: 20,
  failsAt: 10,
  endsAt: 70,
  seconds: 135,
};
const SHORT: Shape = {
  windowMs: 10_000,
  limit: 200,
  offeredPerSecond: 12,
  accounts: 6,
  calendarsPerAccount: 6,
  failsAt: 2,
  endsAt: 10,
  seconds: 13,
};

const PRODUCTION = { isBreakerHeldClosed: false, isEveryTryFirst: false };
const HELD_CLOSED = { isBreakerHeldClosed: true, isEveryTryFirst: false };
const CONTROL = { isBreakerHeldClosed: true, isEveryTryFirst: true };

const REQUESTS_GOAL = "≤ 1.10 × calls that reached Google + 1/s + 100";
const RECOVERY_GOAL = "≤ 60 s to 95 % of offered";
/** What the control must exceed the bound by; in short form it only must send more retries than Ballast. */
const CONTROL_MARGIN = 1.25;

/** Measure everything of the storm. Short: counts and states. */
export async function runStormNumbers(options: BenchOptions): Promise<readonly NumberRow[]> {
  const shape = options.isShort ? SHORT : FULL;
  const plan: StormPlan = {
    ...shape,
    seed: options.seed,
    phases: [
      { at: 0, name: "calm", faults: CALM },
      { at: shape.failsAt, name: "everything is answered 503", faults: ALL_FAIL },
      { at: shape.endsAt, name: "calm again", faults: CALM },
    ],
  };
  const say = (name: string) => (line: string) => options.say(`${name}: ${line}`);
  // Counts and states hold beside each other as well; where times are judged, two run at once.
  const besides = options.isShort ? runGuardNumbers(options) : Promise.resolve([]);
  const [held, production, besideStorm] = await Promise.all([
    stormBallast(plan, { experiment: HELD_CLOSED, say: say("breaker held closed") }),
    stormBallast(plan, { experiment: PRODUCTION, say: say("breaker on") }),
    besides,
  ]);
  const killed = options.isShort ? measureKilledWorkers(options) : Promise.resolve([]);
  const [control, today, besideControl] = await Promise.all([
    stormBallast(plan, { experiment: CONTROL, say: say("control") }),
    stormPeer(plan, { stack: "today", say: say("today") }),
    killed,
  ]);
  const peers: [StackName, StormRun][] = [["today", today]];
  if (!options.isShort) {
    const [limiter, cluster] = await Promise.all([
      stormPeer(plan, { stack: "bullmq-limiter", say: say("bullmq-limiter") }),
      stormPeer(plan, { stack: "bottleneck-cluster", say: say("bottleneck-cluster") }),
    ]);
    peers.push(["bullmq-limiter", limiter], ["bottleneck-cluster", cluster]);
  }
  return [
    ...requestRows(shape, { held, control, peers, isShort: options.isShort }),
    probeRow(production),
    ...recoveryRows(shape, { production, peers, isShort: options.isShort }),
    permitRow({ held, production, control }),
    ...besideStorm,
    ...besideControl,
    ...(options.isShort ? [] : await runGuardNumbers(options)),
    ...(options.isShort ? [] : await measureKilledWorkers(options)),
  ];
}

interface Told {
  readonly sent: number;
  readonly calls: number;
  readonly allowed: number;
}

function tell({ failsAt, endsAt }: Shape, { reading }: StormRun): Told {
  const { sent, first } = reading.total({ from: failsAt, to: endsAt });
  return { sent, calls: first, allowed: Math.floor(1.1 * first + (endsAt - failsAt) + 100) };
}

function requestRows(
  shape: Shape,
  runs: {
    readonly held: StormRun;
    readonly control: StormRun;
    readonly peers: readonly (readonly [StackName, StormRun])[];
    readonly isShort: boolean;
  },
): readonly NumberRow[] {
  const row = (
    stack: string,
    run: StormRun,
    isMet: (told: Told) => boolean | undefined,
  ): NumberRow => {
    const told = tell(shape, run);
    return {
      number: "2a",
      measure: `requests in ${String(shape.endsAt - shape.failsAt)} s of 503 at 60 % load`,
      stack,
      goal: REQUESTS_GOAL,
      measured: `${String(told.sent)} of ${String(told.allowed)} allowed for ${String(told.calls)} calls`,
      figures: { ...told },
      isMet: isMet(told),
    };
  };
  const { sent: heldSent } = tell(shape, runs.held);
  return [
    row("ballast", runs.held, ({ sent, allowed, calls }) => calls > 0 && sent <= allowed),
    row("control: re-runs labelled first", runs.control, ({ sent, allowed }) =>
      runs.isShort ? sent > heldSent : sent >= CONTROL_MARGIN * allowed,
    ),
    ...runs.peers.map(([name, run]) => row(nameOf(name), run, () => undefined)),
  ];
}

/** The probes are counted by who was granted them, the requests by Google. */
function probeRow({ breaker }: StormRun): NumberRow {
  const { requests = 0, probes = 0 } = breaker ?? {};
  return {
    number: "2b",
    measure: "requests after the breaker opened, until the trouble's end",
    stack: "ballast",
    goal: "= probes",
    measured:
      breaker === undefined
        ? "the breaker did not open"
        : `${String(requests)} requests, ${String(probes)} probes`,
    figures: { requests, probes },
    isMet: breaker !== undefined && probes > 0 && requests === probes,
  };
}

function recoveryRows(
  { endsAt, offeredPerSecond, seconds }: Shape,
  runs: {
    readonly production: StormRun;
    readonly peers: readonly (readonly [StackName, StormRun])[];
    readonly isShort: boolean;
  },
): readonly NumberRow[] {
  const row = (
    stack: string,
    { reading }: StormRun,
    isMet: (recovery: number | undefined, ok: number) => boolean | undefined,
  ): NumberRow => {
    const recovery = secondsToRecover(reading.seconds, { endsAt, offeredPerSecond });
    const { ok } = reading.total({ from: endsAt, to: seconds });
    return {
      number: "3",
      measure: "goodput back at 95 % of offered after the trigger",
      stack,
      goal: RECOVERY_GOAL,
      measured:
        recovery === undefined
          ? `not within ${String(seconds - endsAt)} s; ${String(ok)} calls succeeded`
          : `${String(recovery)} s; ${String(ok)} calls succeeded`,
      figures: { ok, ...(recovery === undefined ? {} : { recoverySeconds: recovery }) },
      isMet: isMet(recovery, ok),
    };
  };
  return [
    row("ballast", runs.production, (recovery, ok) =>
      runs.isShort ? ok > 0 : recovery !== undefined && recovery <= 60,
    ),
    ...runs.peers.map(([name, run]) =>
      name === "today"
        ? row("control: no retry budget (today's stack)", run, (recovery) =>
            runs.isShort ? undefined : recovery === undefined,
          )
        : row(nameOf(name), run, () => undefined),
    ),
  ];
}

/** What arrived, token requests included, is what the rollups in the database have counted, one by one. */
function permitRow(runs: Readonly<Record<string, StormRun>>): NumberRow {
  const all = Object.values(runs);
  const arrived = all.reduce((sum, run) => sum + run.arrivals + run.tokenRequests, 0);
  const recorded = all.reduce((sum, run) => sum + run.recorded, 0);
  const tokenRequests = all.reduce((sum, run) => sum + run.tokenRequests, 0);
  const missing = all.reduce(
    (sum, run) => sum + Math.abs(run.arrivals + run.tokenRequests - run.recorded),
    0,
  );
  return {
    number: "16",
    measure: "requests without a permit or attribution, token refreshes included",
    stack: "ballast",
    goal: "0",
    measured: `${String(missing)} of ${String(arrived)} (${String(tokenRequests)} for tokens)`,
    figures: { missing, arrived, recorded, tokenRequests },
    isMet: missing === 0 && tokenRequests > 0,
  };
}

const nameOf = (name: StackName): string => `${name}: ${STACK_PARTS[name]}`;
