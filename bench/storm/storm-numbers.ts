/**
 * Numbers 2a, 2b, 3 and 16 with real workers, and the others of the storm at the guard.
 *
 * What Google saw is read from the simulator's log: a request for a calendar whose last request failed is a
 * retry, whatever its sender calls it. So Ballast, its control and the peers are counted alike.
 */
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { STACK_PARTS, type StackName } from "../stacks/orders.ts";
import { runGuardCounts } from "./guard-numbers.ts";
import { measureKilledWorkers } from "./killed-worker.ts";
import { measureBackingOff } from "./measure-throttling.ts";
import { secondsToRecover } from "./read-storm.ts";
import type { StormExperiment } from "./storm-world.ts";
import { stormBallast, stormPeer, type StormRun } from "./run-storm.ts";
import { ALL_FAIL, CALM, type StormPlan } from "./storm-plan.ts";

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
  // A stack that "never" recovers must be seen to fail for long.
  seconds: 220,
};
const SHORT: Shape = {
  windowMs: 10_000,
  limit: 200,
  offeredPerSecond: 12,
  accounts: 6,
  calendarsPerAccount: 9,
  failsAt: 2,
  endsAt: 11,
  seconds: 18,
};

const PRODUCTION = { isBreakerHeldClosed: false, isEveryTryFirst: false };
const HELD_CLOSED = { isBreakerHeldClosed: true, isEveryTryFirst: false };
const CONTROL = { isBreakerHeldClosed: true, isEveryTryFirst: true };
const UNBUDGETED = { ...CONTROL, isWithoutLimits: true };

/** Who is judged by requests during the trouble runs on for so long after it; who is only shown, for a minute. */
const AFTERMATH_SECONDS = { counted: 30, shown: 60 };

const REQUESTS_GOAL = "≤ 1.10 × calls that reached Google + 1/s + 100";
const RECOVERY_MEASURE =
  "after the trigger: goodput back at 95 % of offered, and in every minute from then on";
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
  const start = createStarters(plan, { options, endsAt: shape.endsAt });
  const runs = await (options.isShort ? runShort(start, options) : runFull(start, options));
  const { production, held, control, unbudgeted, peers } = runs;
  const { isShort } = options;
  return [
    ...requestRows(shape, { held, control, peers, isShort }),
    probeRow(production),
    ...recoveryRows(shape, { production, unbudgeted, peers, isShort }),
    ...permitRows([held, production, control]),
    ...runs.rows,
  ];
}

interface Runs {
  readonly production: StormRun;
  readonly held: StormRun;
  readonly control: StormRun;
  readonly unbudgeted: StormRun | undefined;
  readonly peers: readonly (readonly [StackName, StormRun])[];
  /** Numbers that were measured beside the storms. */
  readonly rows: readonly NumberRow[];
}

/** Each run has a Google, a Redis and a database of its own; they share the machine, and nothing else. */
interface Starters {
  readonly production: () => Promise<StormRun>;
  readonly held: () => Promise<StormRun>;
  readonly control: () => Promise<StormRun>;
  readonly unbudgeted: () => Promise<StormRun>;
  readonly today: () => Promise<StormRun>;
  readonly limiter: () => Promise<StormRun>;
  readonly cluster: () => Promise<StormRun>;
}

function createStarters(
  plan: StormPlan,
  { options, endsAt }: { readonly options: BenchOptions; readonly endsAt: number },
): Starters {
  const ballast =
    (name: string, experiment: StormExperiment, of = plan) =>
    () =>
      stormBallast(of, { experiment, say: (line) => options.say(`${name}: ${line}`) });
  const peer =
    (stack: Exclude<StackName, "ballast">, of = plan) =>
    () =>
      stormPeer(of, { stack, say: (line) => options.say(`${stack}: ${line}`) });
  const upTo = (aftermath: number): StormPlan => ({
    ...plan,
    seconds: Math.min(plan.seconds, endsAt + aftermath),
  });
  const counted = upTo(AFTERMATH_SECONDS.counted);
  const shown = upTo(AFTERMATH_SECONDS.shown);
  return {
    production: ballast("breaker on", PRODUCTION),
    held: ballast("breaker held closed", HELD_CLOSED, counted),
    control: ballast("re-runs labelled first", CONTROL, counted),
    unbudgeted: ballast("no retry budget", UNBUDGETED),
    today: peer("today"),
    limiter: peer("bullmq-limiter", shown),
    cluster: peer("bottleneck-cluster", shown),
  };
}

/** Counts and states hold beside anything else: three at a time, one after the other. */
async function runShort(start: Starters, options: BenchOptions): Promise<Runs> {
  const [[production, killed], [held, control], [guards, today, backingOff]] = await Promise.all([
    start.production().then(async (run) => [run, await measureKilledWorkers(options)] as const),
    start.held().then(async (run) => [run, await start.control()] as const),
    runGuardCounts(options).then(
      async (rows) =>
        [rows, ...(await Promise.all([start.today(), measureBackingOff(options)]))] as const,
    ),
  ]);
  const peers = [["today", today]] as const;
  const rows = [...guards, ...killed, ...backingOff];
  return { production, held, control, unbudgeted: undefined, peers, rows };
}

async function runFull(start: Starters, options: BenchOptions): Promise<Runs> {
  const [production, today, unbudgeted, guards] = await Promise.all([
    start.production(),
    start.today(),
    start.unbudgeted(),
    runGuardCounts(options),
  ]);
  const [held, control, limiter, cluster, killed] = await Promise.all([
    start.held(),
    start.control(),
    start.limiter(),
    start.cluster(),
    measureKilledWorkers(options),
  ]);
  const peers = [
    ["today", today],
    ["bullmq-limiter", limiter],
    ["bottleneck-cluster", cluster],
  ] as const;
  // A wait of milliseconds is measured alone.
  const rows = [...guards, ...killed, ...(await measureBackingOff(options))];
  return { production, held, control, unbudgeted, peers, rows };
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
  { endsAt, offeredPerSecond }: Shape,
  runs: {
    readonly production: StormRun;
    readonly unbudgeted: StormRun | undefined;
    readonly peers: readonly (readonly [StackName, StormRun])[];
    readonly isShort: boolean;
  },
): readonly NumberRow[] {
  const row = (
    stack: string,
    { reading }: StormRun,
    isMet: (recovery: number | undefined, ok: number) => boolean | undefined,
  ): NumberRow => {
    const { seconds } = reading;
    const recovery = secondsToRecover(seconds, { endsAt, offeredPerSecond });
    const { ok, rejected } = reading.total({ from: endsAt, to: seconds.length });
    return {
      number: "3",
      measure: RECOVERY_MEASURE,
      stack,
      goal: RECOVERY_GOAL,
      measured: `${recovery === undefined ? `not within ${String(seconds.length - endsAt)} s` : `${String(recovery)} s`}; ${String(ok)} calls succeeded, ${String(rejected)} requests refused for quota`,
      figures: { ok, rejected, ...(recovery === undefined ? {} : { recoverySeconds: recovery }) },
      isMet: isMet(recovery, ok),
    };
  };
  return [
    row("ballast", runs.production, (recovery, ok) =>
      runs.isShort ? ok > 0 : recovery !== undefined && recovery <= 60,
    ),
    ...(runs.unbudgeted === undefined
      ? []
      : [
          row(
            "control: Ballast, every try labelled first, breaker held closed, no limits of its own",
            runs.unbudgeted,
            (recovery) => recovery === undefined,
          ),
        ]),
    ...runs.peers.map(([name, run]) => row(nameOf(name), run, () => undefined)),
  ];
}

/** What arrived, token requests included, is what the rollups in the database have counted, one by one. */
function permitRows(all: readonly StormRun[]): readonly NumberRow[] {
  const sum = (read: (run: StormRun) => number): number =>
    all.reduce((total, run) => total + read(run), 0);
  const base = {
    number: "16",
    measure: "requests without a permit or attribution, token refreshes included",
    goal: "0",
  };
  const arrived = sum((run) => run.arrivals + run.tokenRequests);
  const tokenRequests = sum((run) => run.tokenRequests);
  const missing = sum((run) => Math.abs(run.arrivals + run.tokenRequests - run.recorded));
  const noticed = sum((run) => run.strayNoticed);
  return [
    {
      ...base,
      stack: "ballast",
      measured: `${String(missing)} of ${String(arrived)} (${String(tokenRequests)} for tokens)`,
      figures: { missing, arrived, recorded: sum((run) => run.recorded), tokenRequests },
      isMet: missing === 0 && tokenRequests > 0,
    },
    {
      ...base,
      stack: "control: one request past the guard in each run",
      measured: `${String(noticed)} noticed of ${String(all.length)}`,
      figures: { noticed, sent: all.length },
      isMet: noticed === all.length,
    },
  ];
}

const nameOf = (name: StackName): string => `${name}: ${STACK_PARTS[name]}`;
