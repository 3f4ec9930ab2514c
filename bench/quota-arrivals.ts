/**
 * Number 1 and 11 of the budget's table: the most arrivals in any window, over eight saturated processes, under every
 * fault, and how long nothing arrives after it. Negative control: the same fleet with the use-by off.
 *
 *   node bench/quota-arrivals.ts [--short] [--json FILE]
 */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { systemClock } from "../src/core/clock.ts";
import {
  burstBegins,
  obtainFleetRedis,
  openings,
  runFleet,
  type Fleet,
  type FleetOptions,
} from "../test/support/quota-fleet/run-fleet.ts";

const { values: flags } = parseArgs({
  options: { short: { type: "boolean", default: false }, json: { type: "string" } },
});

const WINDOW_MS = flags.short ? 3_000 : 10_000;
const LIMIT = flags.short ? 200 : 1_000;
const SENDERS = flags.short ? 4 : 8;
const SPAN_MS = WINDOW_MS + 300;

const sleep = (ms: number): Promise<void> => systemClock.sleep(ms, new AbortController().signal);

interface Fault {
  readonly name: string;
  readonly options?: FleetOptions;
  readonly run: (fleet: Fleet) => Promise<void>;
}

const stopAll = async (fleet: Fleet, ms: number): Promise<void> => {
  await burstBegins(fleet.google, LIMIT / 10);
  for (const { child } of fleet.senders) child.kill("SIGSTOP");
  await sleep(ms);
  for (const { child } of fleet.senders) child.kill("SIGCONT");
  await sleep(SPAN_MS);
};

const FAULTS: readonly Fault[] = [
  { name: "none", run: () => sleep(3 * SPAN_MS) },
  {
    name: "kill -9 of half the senders, one by one",
    run: async (fleet) => {
      for (const { child } of fleet.senders.slice(0, SENDERS / 2)) {
        child.kill("SIGKILL");
        fleet.start();
        await sleep(SPAN_MS / 2);
      }
    },
  },
  {
    name: "SIGSTOP of everyone, 0.3 to 5 s",
    options: { orders: { sendDelayMs: 300 } },
    run: async (fleet) => {
      for (const ms of [300, 1_000, 5_000]) await stopAll(fleet, ms);
    },
  },
  {
    name: "FLUSHALL three times, everyone alive",
    run: async (fleet) => {
      for (let round = 0; round < 3; round += 1) {
        await fleet.admin.flushall();
        await sleep(SPAN_MS / 2);
      }
      await sleep(SPAN_MS);
    },
  },
  {
    name: "kill -9 100 ms before a FLUSHALL",
    run: async (fleet) => {
      fleet.senders[0]?.child.kill("SIGKILL");
      await sleep(100);
      await fleet.admin.flushall();
      await sleep(2 * SPAN_MS);
    },
  },
  ...[true, false].map((keepData) => ({
    name: `Redis killed for 4 s, ${keepData ? "with" : "without"} its file`,
    options: { persistent: true },
    run: async (fleet: Fleet) => {
      await fleet.server.kill("SIGKILL");
      await sleep(4_000);
      await fleet.server.restart({ keepData });
      await sleep(2 * SPAN_MS);
    },
  })),
  {
    name: "replica promoted without its last second",
    options: { isReplicated: true },
    run: async (fleet) => {
      await fleet.promote();
      await sleep(2 * SPAN_MS);
    },
  },
  ...[2_000, -2_000, 90_000, -90_000].map((offsetMs) => ({
    name: `Redis's clock ${offsetMs > 0 ? "+" : ""}${offsetMs / 1_000} s`,
    run: async (fleet: Fleet) => {
      await fleet.admin.set("test:clock-offset", offsetMs);
      await sleep(2 * SPAN_MS);
    },
  })),
  {
    name: "control: SIGSTOP of everyone, use-by off",
    options: { orders: { sendDelayMs: 600, isUseByKept: false } },
    run: (fleet) => stopAll(fleet, 2_500),
  },
];

const program = await obtainFleetRedis();
const rows = [];
let isMissed = false;
for (const { name, options, run } of FAULTS) {
  let restartedAtMs: number | undefined;
  const { most, arrived, times, longestStallMs, events } = await runFleet(
    { program, limit: LIMIT, windowMs: WINDOW_MS, senders: SENDERS, ...options },
    async (fleet) => {
      restartedAtMs = systemClock.monotonicMs();
      await run(fleet);
    },
  );
  const isControl = name.startsWith("control");
  const isMet = isControl ? most >= LIMIT * 1.05 : most <= LIMIT;
  if (!isMet) isMissed = true;
  rows.push({
    fault: name,
    "most / limit": `${most} / ${LIMIT}`,
    over: `${(((most - LIMIT) / LIMIT) * 100).toFixed(1)} %`,
    arrived,
    "longest silence s": (longestGapMs(times) / 1_000).toFixed(1),
    "opened by": openings(events).join(", "),
    "stall ms": Math.round(longestStallMs),
    "run s": ((systemClock.monotonicMs() - (restartedAtMs ?? 0)) / 1_000).toFixed(0),
    met: isMet,
  });
  console.error(`${name}: ${most} / ${LIMIT}`);
}
console.table(rows);
if (flags.json !== undefined) await writeFile(flags.json, JSON.stringify(rows, undefined, 2));
process.exitCode = isMissed ? 1 : 0;

/** Bursts leave silences of nearly a window by themselves; what is longer was the fault. */
function longestGapMs(times: readonly number[]): number {
  return times.reduce(
    (longest, time, index) => Math.max(longest, time - (times[index - 1] ?? time)),
    0,
  );
}
