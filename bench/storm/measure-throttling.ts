import Bottleneck from "bottleneck";
import { readLedgerSnapshot } from "../../src/quota/ledger-snapshot.ts";
import type { Answer } from "../../test/support/scripted-server.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { atRate, OK, openGuardWorld, pause, WIDE } from "./guard-world.ts";

const REFUSED_FOR_RATE = JSON.stringify({
  error: {
    code: 403,
    message: "Rate Limit Exceeded",
    errors: [
      { domain: "usageLimits", reason: "userRateLimitExceeded", message: "Rate Limit Exceeded" },
    ],
  },
});

const WINDOW_MS = 10_000;
const HIDDEN_PER_WINDOW = 60;

interface Learnt {
  readonly came: number;
  readonly share: number;
  readonly rejected: number;
  readonly othersFailed: number;
  readonly others: number;
  /** Scopes that the ledger has narrowed. */
  readonly narrowed: readonly string[];
}

/** Number 12: Google keeps a limit for one quota user that is a third of the one it tells. */
export async function measureHiddenLimit(options: BenchOptions): Promise<readonly NumberRow[]> {
  const seconds = options.isShort ? { learn: 4, judged: 4 } : { learn: 30, judged: 30 };
  const [ours, control] = await Promise.all([
    meetHiddenLimit(seconds, { isControl: false }),
    meetHiddenLimit(seconds, { isControl: true }),
  ]);
  const row = (stack: string, learnt: Learnt, isMet: boolean): NumberRow => {
    const { came, share, rejected, othersFailed, others, narrowed } = learnt;
    return {
      number: "12",
      measure: `rejected by a hidden limit below the budget, after ${String(seconds.learn)} s`,
      stack,
      goal: "≤ 5 %; other quota users untouched",
      measured: `${(100 * share).toFixed(1)} % of ${String(came)}; ${String(othersFailed)} of ${String(others)} calls of others failed; narrowed: ${narrowed.join(", ") || "nothing"}`,
      figures: { share, came, othersFailed, rejected, narrowed: narrowed.length },
      isMet,
    };
  };
  const isAlone = ours.narrowed.join() === "user:calendar:throttled" && ours.othersFailed === 0;
  const hasLearnt = options.isShort ? ours.rejected < control.rejected / 2 : ours.share <= 0.05;
  return [
    row("ballast", ours, ours.rejected > 0 && isAlone && hasLearnt),
    row(
      "control: refusals teach nothing",
      control,
      control.narrowed.length === 0 && control.share >= 0.2,
    ),
  ];
}

async function meetHiddenLimit(
  seconds: { readonly learn: number; readonly judged: number },
  { isControl }: { readonly isControl: boolean },
): Promise<Learnt> {
  const google = createHiddenLimit();
  const world = await openGuardWorld(
    {
      guards: 1,
      settings: { ...WIDE, windowMs: WINDOW_MS, userPerMinute: 3 * HIDDEN_PER_WINDOW },
      guardOptions: { retry: { maxAttempts: 1 } },
    },
    {
      answer: (tenant) => (tenant === "throttled" ? google.answer() : OK),
      wrapBroker: (broker) =>
        isControl
          ? { ...broker, report: (permit) => broker.report(permit, { kind: "answered" }) }
          : broker,
    },
  );
  const load = (forSeconds: number): Promise<readonly (readonly boolean[])[]> =>
    Promise.all([
      atRate({ perSecond: 15, seconds: forSeconds }, () => world.call("throttled", "push")),
      atRate({ perSecond: 10, seconds: forSeconds }, (turn) =>
        world.call(`other-${String(turn % 3)}`, "push"),
      ),
    ]);
  try {
    await load(seconds.learn);
    const before = google.counts();
    const [, others = []] = await load(seconds.judged);
    const after = google.counts();
    const came = after.came - before.came;
    const snapshot = await readLedgerSnapshot(world.parts.ledger);
    return {
      came,
      share: came === 0 ? 0 : (after.rejected - before.rejected) / came,
      rejected: after.rejected,
      othersFailed: others.filter((isOk) => !isOk).length,
      others: others.length,
      narrowed: snapshot?.scales.map(({ scope }) => scope) ?? [],
    };
  } finally {
    await world.close();
  }
}

/** What is refused counts as well. */
function createHiddenLimit(): {
  readonly answer: () => Answer;
  readonly counts: () => { readonly came: number; readonly rejected: number };
} {
  const arrivals: number[] = [];
  let rejected = 0;
  return {
    answer: () => {
      const nowMs = performance.now();
      arrivals.push(nowMs);
      const inWindow = arrivals.filter((atMs) => nowMs - atMs < WINDOW_MS).length;
      if (inWindow <= HIDDEN_PER_WINDOW) return OK;
      rejected += 1;
      const headers = { "content-type": "application/json" };
      return { status: 403, headers, body: REFUSED_FOR_RATE };
    },
    counts: () => ({ came: arrivals.length, rejected }),
  };
}

const SLOTS = 10;

/** Number 13: one tenant is told 429 and to come back in seconds, all the time; what do the others wait? */
export async function measureBackingOff(options: BenchOptions): Promise<readonly NumberRow[]> {
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
    const pool = new Bottleneck({ maxConcurrent: isControl ? SLOTS : null });
    let backing = 0;
    let past = 0;
    const call = (tenant: string): Promise<boolean> =>
      pool.schedule(async () => {
        if (tenant !== "backing-off") {
          // As many backoffs as the control has slots do not keep others from their turn.
          if (backing >= SLOTS) past += 1;
          return world.call(tenant, "interactive");
        }
        backing += 1;
        const isOk = await world.call(tenant, "interactive");
        backing -= 1;
        return isOk;
      });
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
      const held = beside.filter(({ tookMs }) => tookMs >= 1_000).length;
      rows.push({
        number: "13",
        measure: "others' wait while one tenant backs off, p99 over calm",
        stack: isControl ? "control: a backoff holds its slot" : "ballast",
        goal: "≤ +50 ms",
        measured: `${addedMs.toFixed(0)} ms; ${String(held)} held for a second, ${String(past)} served past ${String(SLOTS)} backoffs, ${String(failed)} failed of ${String(beside.length)} calls`,
        figures: { addedMs, held, past, failed, calls: beside.length },
        isMet: isControl
          ? past === 0 && (options.isShort || addedMs >= 500)
          : failed === 0 && past > 0 && (options.isShort || addedMs <= 50),
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
