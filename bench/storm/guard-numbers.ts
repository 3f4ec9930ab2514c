/** Numbers 4, 12, 13, 14 and 15: what is the guard's and the ledger's own, without workers around them. */
import Bottleneck from "bottleneck";
import { createRandom } from "../../test/scenarios/scenario.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { atRate, openGuardWorld, pause } from "./guard-world.ts";
import { measureDay } from "./measure-day.ts";
import { measureProbes } from "./measure-probes.ts";

const WIDE = { projectPerMinute: 5_000, userPerMinute: 5_000 };
const REFUSED_FOR_RATE = JSON.stringify({
  error: {
    code: 403,
    message: "Rate Limit Exceeded",
    errors: [
      { domain: "usageLimits", reason: "userRateLimitExceeded", message: "Rate Limit Exceeded" },
    ],
  },
});
const OK = { status: 200, body: "{}" } as const;

/** Measure them one after the other. */
export async function runGuardNumbers(options: BenchOptions): Promise<readonly NumberRow[]> {
  if (options.isShort) {
    // Counts and states hold beside each other as well.
    return (await Promise.all(MEASURES.map((measure) => measure(options)))).flat();
  }
  const rows: NumberRow[] = [];
  for (const measure of MEASURES) rows.push(...(await measure(options)));
  return rows;
}

const MEASURES = [
  measureFailures,
  measureHiddenLimit,
  measureBackingOff,
  measureProbes,
  measureDay,
] as const;

/** One in ten requests fails, in random order: a deck of a hundred with ten bad cards, shuffled again and again. */
async function measureFailures(options: BenchOptions): Promise<readonly NumberRow[]> {
  const rows: NumberRow[] = [];
  for (const maxAttempts of [3, 1]) {
    const random = createRandom(options.seed);
    let deck: boolean[] = [];
    const state = { isFailing: false };
    const draw = (): boolean => {
      if (deck.length === 0) {
        deck = Array.from({ length: 100 }, (_, index) => index < 10)
          .map((isBad) => ({ isBad, order: random() }))
          .toSorted((a, b) => a.order - b.order)
          .map(({ isBad }) => isBad);
      }
      return deck.pop() ?? false;
    };
    const world = await openGuardWorld(
      {
        guards: 1,
        settings: WIDE,
        guardOptions: { retry: { maxAttempts, baseMs: 50, capMs: 200 } },
      },
      { answer: () => (state.isFailing && draw() ? { status: 503, body: "" } : OK) },
    );
    try {
      // A fleet that has run for a while has saved something.
      await atRate({ perSecond: 60, seconds: 2 }, () => world.call("acme", "push"));
      const before = world.server.arrivals.length;
      state.isFailing = true;
      const ended = await atRate({ perSecond: 60, seconds: options.isShort ? 4 : 20 }, () =>
        world.call("acme", "push"),
      );
      const success = ended.filter(Boolean).length / ended.length;
      const perCall = (world.server.arrivals.length - before) / ended.length;
      const isGood = success >= 0.99 && perCall <= 1.12;
      rows.push({
        number: "4",
        measure: "first-run success at 10 % random failures",
        stack: maxAttempts === 1 ? "control: no retry in place" : "ballast",
        goal: "≥ 99 %, ≤ 1.12 requests per call",
        measured: `${(100 * success).toFixed(1)} %, ${perCall.toFixed(3)} requests per call`,
        figures: { success, perCall, calls: ended.length },
        isMet: maxAttempts === 1 ? success < 0.95 : isGood,
      });
    } finally {
      await world.close();
    }
  }
  return rows;
}

const WINDOW_MS = 10_000;
const HIDDEN_PER_WINDOW = 60;

/** Google keeps a limit for one quota user that is a third of the one it tells. */
async function measureHiddenLimit(options: BenchOptions): Promise<readonly NumberRow[]> {
  const learnSeconds = options.isShort ? 4 : 30;
  const rows: NumberRow[] = [];
  for (const isControl of [false, true]) {
    const arrivals: number[] = [];
    let rejected = 0;
    const world = await openGuardWorld(
      {
        guards: 1,
        settings: { ...WIDE, windowMs: WINDOW_MS, userPerMinute: 3 * HIDDEN_PER_WINDOW },
        guardOptions: { retry: { maxAttempts: 1 } },
      },
      {
        answer: (tenant) => {
          if (tenant !== "throttled") return OK;
          const nowMs = performance.now();
          arrivals.push(nowMs);
          const inWindow = arrivals.filter((atMs) => nowMs - atMs < WINDOW_MS).length;
          if (inWindow <= HIDDEN_PER_WINDOW) return OK;
          rejected += 1;
          const headers = { "content-type": "application/json" };
          return { status: 403, headers, body: REFUSED_FOR_RATE };
        },
        wrapBroker: (broker) =>
          isControl
            ? { ...broker, report: (permit) => broker.report(permit, { kind: "answered" }) }
            : broker,
      },
    );
    try {
      const load = (seconds: number): Promise<readonly (readonly boolean[])[]> =>
        Promise.all([
          atRate({ perSecond: 15, seconds }, () => world.call("throttled", "push")),
          atRate({ perSecond: 10, seconds }, (turn) =>
            world.call(`other-${String(turn % 3)}`, "push"),
          ),
        ]);
      await load(learnSeconds);
      const before = { arrivals: arrivals.length, rejected };
      const [, others = []] = await load(options.isShort ? 4 : 15);
      const came = arrivals.length - before.arrivals;
      const share = came === 0 ? 0 : (rejected - before.rejected) / came;
      const othersFailed = others.filter((isOk) => !isOk).length;
      rows.push({
        number: "12",
        measure: "rejected by a hidden limit below the budget, after 30 s",
        stack: isControl ? "control: refusals teach nothing" : "ballast",
        goal: "≤ 5 %; other quota users untouched",
        measured: `${(100 * share).toFixed(1)} % of ${String(came)}; ${String(othersFailed)} of ${String(others.length)} calls of others failed`,
        figures: { share, came, othersFailed, rejected },
        isMet: isControl
          ? share >= 0.2 || options.isShort
          : othersFailed === 0 && rejected > 0 && (options.isShort || share <= 0.05),
      });
    } finally {
      await world.close();
    }
  }
  return rows;
}

/** One tenant is told 429 and to come back in seconds, all the time; what do the others wait? */
async function measureBackingOff(options: BenchOptions): Promise<readonly NumberRow[]> {
  const seconds = options.isShort ? 2 : 8;
  const rows: NumberRow[] = [];
  for (const isControl of [false, true]) {
    const world = await openGuardWorld(
      { guards: 1, settings: WIDE },
      {
        answer: (tenant) =>
          tenant === "backing-off"
            ? {
                status: 429,
                headers: { "retry-after": "3", "content-type": "application/json" },
                body: REFUSED_FOR_RATE,
              }
            : OK,
      },
    );
    // The control's slots are held through a backoff, as a job that sleeps holds its worker's.
    const pool = new Bottleneck({ maxConcurrent: isControl ? 10 : null });
    const call = (tenant: string): Promise<boolean> =>
      pool.schedule(() => world.call(tenant, "interactive"));
    const others = async (): Promise<readonly { isOk: boolean; tookMs: number }[]> =>
      atRate({ perSecond: 30, seconds }, async (turn) => {
        const beganMs = performance.now();
        const isOk = await call(`other-${String(turn % 3)}`);
        return { isOk, tookMs: performance.now() - beganMs };
      });
    try {
      // A ledger vouches for a new process after a moment.
      await call("other-0");
      const calm = await others();
      const backingOff = atRate({ perSecond: 6, seconds }, () => call("backing-off"));
      await pause(500);
      const beside = await others();
      const addedMs = p99(beside) - p99(calm);
      const failed = beside.filter(({ isOk }) => !isOk).length;
      rows.push({
        number: "13",
        measure: "others' wait while one tenant backs off, p99 over calm",
        stack: isControl ? "control: a backoff holds its slot" : "ballast",
        goal: "≤ +50 ms",
        measured: `${addedMs.toFixed(0)} ms; ${String(failed)} of ${String(beside.length)} calls failed`,
        figures: { addedMs, failed, calls: beside.length },
        isMet: isControl
          ? addedMs >= 500 || options.isShort
          : failed === 0 && (options.isShort || addedMs <= 50),
      });
      await backingOff;
    } finally {
      await world.close();
    }
  }
  return rows;
}

function p99(calls: readonly { readonly tookMs: number }[]): number {
  const sorted = calls.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  return sorted[Math.floor(0.99 * (sorted.length - 1))] ?? 0;
}
