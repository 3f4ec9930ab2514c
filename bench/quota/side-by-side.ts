/**
 * Numbers 1, 5 and 6 for Ballast and for what people run today: the same work, the same simulator, the same load.
 *
 * A trickle, as at night, and then a rush at the worst moment, late in the trickle's window. One tenant asks ten times
 * as much as the seven others; a quiet one asks now and then.
 */
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";
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
const PROCESSES = 4;
/** Fits into what J and D hide; the simulator's own stalls must not look like bursts. */
const TRANSIT_MS = 100;

interface Shape {
  readonly windowMs: number;
  readonly limit: number;
  readonly rushFromMs: number;
  readonly runMs: number;
}

const FULL: Shape = { windowMs: 10_000, limit: 1_000, rushFromMs: 8_000, runMs: 40_000 };
const SHORT: Shape = { windowMs: 3_000, limit: 200, rushFromMs: 2_400, runMs: 7_000 };

/** What one stack did. */
interface Seen {
  readonly most: number;
  readonly rejected: number;
  readonly jain: number;
  readonly quietP99Ms: number;
  readonly quietCalls: number;
  readonly stallMs: number;
}

/** Run every stack, one after the other. */
export async function runSideBySide(options: BenchOptions): Promise<readonly NumberRow[]> {
  const shape = options.isShort ? SHORT : FULL;
  const rows: NumberRow[] = [];
  for (const stack of STACKS) {
    const run = (): Promise<Seen> => runOne(stack, { shape, say: options.say });
    // What is only shown is not repeated either.
    const seen = stack === "ballast" ? await judgeable(run, options) : await run();
    rows.push(...rowsOf(stack, seen, { shape, isShort: options.isShort }));
  }
  return rows;
}

/** A run whose arrivals were noted late proves nothing: it is repeated, not judged. */
async function judgeable(run: () => Promise<Seen>, { say }: BenchOptions): Promise<Seen> {
  for (let attempt = 1; ; attempt += 1) {
    const seen = await run();
    if (seen.stallMs <= TRANSIT_MS || attempt === 3) return seen;
    say(`the simulator stalled for ${Math.round(seen.stallMs)} ms: again`);
  }
}

async function runOne(
  stack: StackName,
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
      processes: PROCESSES,
      runMs,
      loadsOf: (process) => loadsOf(process, shape),
      settings: {
        useWithinMs: 200,
        transitMs: TRANSIT_MS,
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
      },
    });
    const counters = await google.counters();
    for (const reason of new Set(reports.flatMap(({ reasons }) => reasons)))
      say(`${stack}: ${reason}`);
    return { ...seenBy(reports, shape), ...atGoogle(counters) };
  } finally {
    google.stop();
  }
}

function loadsOf(process: number, { rushFromMs, runMs }: Shape): readonly TenantLoad[] {
  const whole = { fromMs: 0, toMs: runMs };
  const trickle = BUSY_TENANTS.map((tenant) => ({ tenant, perSecond: 0.25, ...whole }));
  const rush = BUSY_TENANTS.map((tenant, index) => ({
    tenant,
    outstanding: index === 0 ? 50 : 5,
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
  stack: StackName,
  seen: Seen,
  { shape, isShort }: { readonly shape: Shape; readonly isShort: boolean },
): readonly NumberRow[] {
  const isOurs = stack === "ballast";
  const name = isOurs ? "ballast" : `${stack}: ${STACK_PARTS[stack]}`;
  const judged = (isMet: boolean): boolean | undefined => (isOurs ? isMet : undefined);
  const { limit, windowMs } = shape;
  const seconds = windowMs / 1_000;
  return [
    {
      number: "1",
      measure: `most arrivals in any ${seconds} s, a rush after a trickle, ${PROCESSES} processes`,
      stack: name,
      goal: `≤ ${limit}, 0 rejected`,
      measured: `${seen.most} (${percent(seen.most / limit - 1)}), ${seen.rejected} rejected`,
      figures: { most: seen.most, limit, rejected: seen.rejected, stallMs: seen.stallMs },
      isMet: judged(seen.most <= limit && seen.rejected === 0),
    },
    {
      number: "5",
      measure: "Jain index of 8 saturated tenants, one asking 10 ×",
      stack: name,
      goal: "≥ 0.99",
      measured: seen.jain.toFixed(3),
      figures: { jain: seen.jain },
      isMet: isShort ? undefined : judged(seen.jain >= 0.99),
    },
    {
      number: "6",
      measure: "wait of a quiet tenant beside one asking 10 ×, p99",
      stack: name,
      goal: "≤ 500 ms",
      measured: Number.isFinite(seen.quietP99Ms)
        ? `${Math.round(seen.quietP99Ms)} ms`
        : "calls lost",
      figures: { quietCalls: seen.quietCalls, p99Ms: seen.quietP99Ms },
      isMet: isShort ? undefined : judged(seen.quietP99Ms <= 500),
    },
  ];
}

function percent(share: number): string {
  return `${share >= 0 ? "+" : ""}${(share * 100).toFixed(1)} %`;
}
