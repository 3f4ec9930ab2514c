/**
 * Number 17: how long a person's call takes while every background slot of every process waits for a permit. Negative
 * control: the same with one pool of slots for all classes.
 */
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";
import { inTurn } from "../in-turn.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { startGoogle } from "../stacks/google.ts";
import { accountsOf, runStack } from "../stacks/run-stack.ts";

/** Of the short form: half. */
const PROCESSES = 4;
const WINDOW_MS = 10_000;
const LIMIT = 1_000;
/** More callers than the background slots of a process. */
const CALLERS = 100;
const SHARED_SLOTS = 32;
const WARM_UP_MS = 3_000;

interface Waits {
  readonly calmP99Ms: number;
  readonly busyP99Ms: number;
  readonly calls: number;
  readonly backgroundCalls: number;
}

/** The row and its control. */
export async function runPerson(options: BenchOptions): Promise<readonly NumberRow[]> {
  const measured = [false, true].map((isControl) => async () => {
    const waits = await measureUntilCalm(isControl, options);
    const addedMs = waits.busyP99Ms - waits.calmP99Ms;
    const row: NumberRow = {
      number: "17",
      measure: `a person's call while the background waits for permits, ${options.isShort ? PROCESSES / 2 : PROCESSES} processes, p99`,
      stack: isControl ? "control: one shared pool of slots" : "ballast",
      goal: isControl ? "misses by ≥ 100 ms" : "≤ calm + 50 ms",
      measured: `${waits.busyP99Ms === Infinity ? "none ended" : `${Math.round(waits.busyP99Ms)} ms`}, calm ${Math.round(waits.calmP99Ms)} ms`,
      figures: { ...waits, addedMs },
      isMet: isControl ? addedMs >= 150 : options.isShort ? undefined : addedMs <= 50,
    };
    options.say(`17, ${row.stack}: ${row.measured}`);
    return [row];
  });
  return inTurn(measured, options.isShort ? 2 : 1);
}

const TRIES = 3;

/** Where the machine is so busy that no call ended in the calm, there is nothing to compare with: again, longer. */
async function measureUntilCalm(
  isControl: boolean,
  { isShort, say }: BenchOptions,
): Promise<Waits> {
  for (let attempt = 1; ; attempt += 1) {
    const waits = await measure({ isControl, isShort, stretch: attempt });
    if (waits.calmP99Ms !== Infinity || attempt === TRIES) return waits;
    say("17: no call ended in the calm: again");
  }
}

async function measure({
  isControl,
  isShort,
  stretch,
}: {
  readonly isControl: boolean;
  readonly isShort: boolean;
  readonly stretch: number;
}): Promise<Waits> {
  const calmMs = (isShort ? 4_000 : 20_000) * stretch;
  const runMs = (isShort ? 10_000 : 60_000) * stretch;
  const warmUpMs = isShort ? 1_500 : WARM_UP_MS;
  const processes = isShort ? PROCESSES / 2 : PROCESSES;
  const tenants = Array.from({ length: processes * 2 }, (_, index) => `tenant-${index}`);
  const google = await startGoogle({
    seed: "person",
    generate: { accounts: tenants.length, calendars: 0, events: 3 },
    limits: { projectPerWindow: 1e6, userPerWindow: 1e6, perDay: 1e9 },
  });
  try {
    const reports = await runStack({
      program: await obtainFleetRedis(),
      processes,
      runMs,
      loadsOf: (process) => [
        {
          tenant: `tenant-${process}`,
          class: "interactive",
          // All of them together stay within what the background must leave free.
          perSecond: 4,
          fromMs: 0,
          toMs: runMs - 500,
        },
        ...Array.from({ length: 4 }, (_, of) => ({
          tenant: `tenant-${processes + ((process + of) % processes)}`,
          class: "backfill" as const,
          outstanding: CALLERS / 4,
          fromMs: calmMs,
          toMs: runMs,
        })),
      ],
      settings: {
        settleMs: 500,
        classReserve: { push: 0.05, poll: 0.1, backfill: 0.2 },
        userPerMinute: LIMIT,
        "consumer:bench": { cap: 1, classes: ["interactive", "push", "poll", "backfill"] },
      },
      orders: {
        stack: "ballast",
        class: "interactive",
        google: { apiRootUrl: google.url, tokenUrl: google.tokenUrl },
        accounts: accountsOf(google, tenants),
        limit: LIMIT,
        windowMs: WINDOW_MS,
        ...(isControl ? { sharedSlots: SHARED_SLOTS } : {}),
      },
    });
    const calls = reports.flatMap((report) => report.calls);
    const people = calls.filter((call) => call.class === "interactive");
    const beganMs = (call: (typeof people)[number]): number => call.endedMs - call.tookMs;
    // None has ended: they wait longer than the run.
    const p99 = (of: typeof people): number => {
      const sorted = of.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
      return sorted[Math.floor(sorted.length * 0.99)] ?? Infinity;
    };
    return {
      // Each begins when its first calls, which connect, get tokens and compile the code, are over.
      calmP99Ms: p99(people.filter((call) => beganMs(call) > warmUpMs && call.endedMs < calmMs)),
      busyP99Ms: p99(people.filter((call) => beganMs(call) > calmMs + warmUpMs)),
      calls: people.length,
      backgroundCalls: calls.length - people.length,
    };
  } finally {
    google.stop();
  }
}
