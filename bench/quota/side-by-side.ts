/**
 * Numbers 1, 5 and 6 for Ballast and for what people run today: the same work, the same simulator, the same load.
 *
 * A trickle, as at night, and then a rush at the worst moment, late in the trickle's window. One tenant asks ten times
 * as much as the seven others; a quiet one asks now and then. Negative control of 5 and 6: the same, with one tenant id
 * at the ledger for everyone.
 */
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";
import { inTurn } from "../in-turn.ts";
import { runUntilJudgeable, unlessStalled } from "../judge-run.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { startGoogle } from "../stacks/google.ts";
import {
  STACK_PARTS,
  STACKS,
  type StackName,
  type StackReport,
  type TenantLoad,
} from "../stacks/orders.ts";
import { accountsOf, runStack } from "../stacks/run-stack.ts";

const BUSY_TENANTS = Array.from({ length: 8 }, (_, index) => `tenant-${index}`);
const QUIET = "quiet";
/** For everyone as one tenant, whose callers are served in their order: a tenth of the bound's distance and more. */
const CONTROL_MOST_JAIN = 0.9;
const CONTROL_LEAST_WAIT_MS = 1_000;

interface Shape {
  readonly windowMs: number;
  readonly limit: number;
  readonly rushFromMs: number;
  readonly runMs: number;
  readonly processes: number;
  /** D: a longer stall of the simulator must not look like a burst. */
  readonly transitMs: number;
}

const FULL: Shape = {
  windowMs: 10_000,
  limit: 1_000,
  rushFromMs: 8_000,
  runMs: 40_000,
  processes: 4,
  transitMs: 100,
};
/** Its runs share the processors, so it allows for longer stalls. */
const SHORT: Shape = {
  windowMs: 3_000,
  limit: 200,
  rushFromMs: 2_400,
  runMs: 8_000,
  processes: 2,
  transitMs: 400,
};

/** A stack, or Ballast's control. */
interface Subject {
  readonly stack: StackName;
  readonly isControl?: boolean;
}

/** What one stack did. */
interface Seen {
  readonly most: number;
  readonly rejected: number;
  readonly jain: number;
  readonly quietP99Ms: number;
  readonly quietCalls: number;
  readonly stallMs: number;
}

/** Run every stack; in full one after the other, as times are judged. */
export async function runSideBySide(options: BenchOptions): Promise<readonly NumberRow[]> {
  const { isShort, say } = options;
  const shape = isShort ? SHORT : FULL;
  const { transitMs } = shape;
  const judged = (subject: Subject) => async (): Promise<readonly NumberRow[]> => {
    const seen = await runUntilJudgeable(() => runOne(subject, { shape, say }), { transitMs, say });
    return rowsOf(subject, seen, { shape, isShort });
  };
  const shown = (stack: StackName) => async (): Promise<readonly NumberRow[]> =>
    // What is only shown is not repeated either.
    rowsOf({ stack }, await runOne({ stack }, { shape, say }), { shape, isShort });
  const peers = STACKS.filter((stack) => stack !== "ballast").map(shown);
  const ours = [judged({ stack: "ballast" }), judged({ stack: "ballast", isControl: true })];
  return inTurn([...ours, ...peers], isShort ? 2 : 1);
}

async function runOne(
  { stack, isControl = false }: Subject,
  { shape, say }: { readonly shape: Shape; readonly say: BenchOptions["say"] },
): Promise<Seen> {
  const { limit, windowMs, runMs } = shape;
  const google = await startGoogle({
    seed: "side-by-side",
    generate: { accounts: BUSY_TENANTS.length + 1, calendars: 0, events: 3 },
    limits: {
      projectPerWindow: limit,
      userPerWindow: limit,
      perDay: 100_000_000,
      windowSeconds: windowMs / 1_000,
    },
  });
  try {
    const reports = await runStack({
      program: await obtainFleetRedis(),
      processes: shape.processes,
      runMs,
      loadsOf: (process) => loadsOf(process, shape),
      settings: {
        useWithinMs: 200,
        transitMs: shape.transitMs,
        settleMs: 500,
        classReserve: { push: 0, poll: 0, backfill: 0 },
      },
      orders: {
        stack,
        class: "push",
        google: { apiRootUrl: google.url, tokenUrl: google.tokenUrl },
        accounts: accountsOf(google, [...BUSY_TENANTS, QUIET]),
        limit,
        windowMs,
        isOneTenant: isControl,
      },
      // What came before, and its stalls, was the simulator's own start.
      meanwhile: () => google.resetCounters(),
    });
    const counters = await google.counters();
    for (const reason of new Set(reports.flatMap(({ reasons }) => reasons)))
      say(`${stack}: ${reason}`);
    return { ...seenBy(reports, shape), ...atGoogle(counters) };
  } finally {
    google.stop();
  }
}

function loadsOf(process: number, { rushFromMs, runMs, processes }: Shape): readonly TenantLoad[] {
  const whole = { fromMs: 0, toMs: runMs };
  const trickle = BUSY_TENANTS.map((tenant) => ({ tenant, perSecond: 1 / processes, ...whole }));
  const rush = BUSY_TENANTS.map((tenant, index) => ({
    tenant,
    outstanding: (index === 0 ? 200 : 20) / processes,
    fromMs: rushFromMs,
    toMs: runMs,
  }));
  const quiet = { tenant: QUIET, perSecond: 5, fromMs: rushFromMs + 1_000, toMs: runMs - 500 };
  return [...trickle, ...rush, ...(process === 0 ? [quiet] : [])];
}

function seenBy(
  reports: readonly StackReport[],
  { rushFromMs, windowMs }: Shape,
): Pick<Seen, "jain" | "quietP99Ms" | "quietCalls"> {
  const calls = reports.flatMap((report) => report.calls);
  // The first window after the rush began has its spare places shared out by who came first.
  const fromMs = rushFromMs + windowMs;
  const served = BUSY_TENANTS.map(
    (tenant) =>
      calls.filter((call) => call.tenant === tenant && call.isSuccess && call.endedMs >= fromMs)
        .length,
  );
  const sum = served.reduce((a, b) => a + b, 0);
  const jain = sum ** 2 / (served.length * served.reduce((a, b) => a + b * b, 0)) || 0;
  const waits = calls
    .filter((call) => call.tenant === QUIET)
    // A call that failed for good has waited for ever.
    .map((call) => (call.isSuccess ? call.tookMs : Infinity))
    .toSorted((a, b) => a - b);
  return {
    jain,
    quietCalls: waits.length,
    quietP99Ms: waits[Math.ceil(waits.length * 0.99) - 1] ?? Infinity,
  };
}

function atGoogle(
  counters: Awaited<ReturnType<Awaited<ReturnType<typeof startGoogle>>["counters"]>>,
): Pick<Seen, "most" | "rejected" | "stallMs"> {
  return {
    most: counters.mostArrivals.project,
    rejected: Object.values(counters.rejectedByLimit).reduce((sum, count) => sum + count, 0),
    stallMs: counters.longestStallMs,
  };
}

function rowsOf(
  { stack, isControl = false }: Subject,
  seen: Seen,
  { shape, isShort }: { readonly shape: Shape; readonly isShort: boolean },
): readonly NumberRow[] {
  if (isControl) return controlRows(seen, { shape, isShort });
  const isOurs = stack === "ballast";
  const name = isOurs ? "ballast" : `${stack}: ${STACK_PARTS[stack]}`;
  const judged = (isMet: boolean): boolean | undefined => (isOurs ? isMet : undefined);
  const { limit, windowMs, transitMs, processes } = shape;
  const seconds = windowMs / 1_000;
  const rows: readonly NumberRow[] = [
    {
      number: "1",
      measure: `most arrivals in any ${seconds} s, a rush after a trickle, ${processes} processes`,
      stack: name,
      goal: `≤ ${limit}, 0 rejected`,
      measured: `${seen.most} (${percent(seen.most / limit - 1)}), ${seen.rejected} rejected`,
      figures: { most: seen.most, limit, rejected: seen.rejected, stallMs: seen.stallMs },
      isMet: judged(seen.most <= limit && seen.rejected === 0),
    },
    { ...jainRow(seen), stack: name, isMet: isShort ? undefined : judged(seen.jain >= 0.99) },
    { ...waitRow(seen), stack: name, isMet: isShort ? undefined : judged(seen.quietP99Ms <= 500) },
  ];
  return rows.map((row) => unlessStalled(row, { stallMs: seen.stallMs, transitMs }));
}

/** Shares are counts, and judged in the short form too. */
function controlRows(
  seen: Seen,
  { shape: { transitMs }, isShort }: { readonly shape: Shape; readonly isShort: boolean },
): readonly NumberRow[] {
  const stack = "control: one tenant id for everyone";
  const jainIsMissed = seen.jain <= CONTROL_MOST_JAIN;
  const rows: readonly NumberRow[] = [
    {
      ...jainRow(seen),
      stack,
      goal: `misses: ≤ ${CONTROL_MOST_JAIN}`,
      isMet: jainIsMissed,
    },
    {
      ...waitRow(seen),
      stack,
      goal: `misses: ≥ ${CONTROL_LEAST_WAIT_MS} ms`,
      isMet: isShort ? undefined : seen.quietP99Ms >= CONTROL_LEAST_WAIT_MS,
    },
  ];
  return rows.map((row) => unlessStalled(row, { stallMs: seen.stallMs, transitMs }));
}

function jainRow({ jain }: Seen): Omit<NumberRow, "stack" | "isMet"> {
  return {
    number: "5",
    measure: "Jain index of 8 saturated tenants, one asking 10 ×",
    goal: "≥ 0.99",
    measured: jain.toFixed(3),
    figures: { jain },
  };
}

function waitRow({ quietP99Ms, quietCalls }: Seen): Omit<NumberRow, "stack" | "isMet"> {
  return {
    number: "6",
    measure: "wait of a quiet tenant beside one asking 10 ×, p99",
    goal: "≤ 500 ms",
    measured: Number.isFinite(quietP99Ms) ? `${Math.round(quietP99Ms)} ms` : "calls lost",
    figures: { quietCalls, p99Ms: quietP99Ms },
  };
}

function percent(share: number): string {
  return `${share >= 0 ? "+" : ""}${(share * 100).toFixed(1)} %`;
}
