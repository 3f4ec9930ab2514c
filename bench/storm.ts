/**
 * `npm run bench:storm [-- --short] [--json FILE] [--svg FILE] [--seed N]`: the incident again, for today's stack
 * and for Ballast at the same time, each with its own Google: 60 % of the quota is asked for, every list is answered
 * 503 for a minute, in the middle of it a backfill makes every calendar due, then Google is well again. Refusals for
 * quota are the simulator's own: who sends too much gets them. `--short` judges counts only.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { drawStorm } from "./storm/draw-storm.ts";
import { secondsToRecover, type StormSecond } from "./storm/read-storm.ts";
import {
  ALL_FAIL,
  CALM,
  stormBallast,
  stormPeer,
  type StormPlan,
  type StormRun,
} from "./storm/run-storm.ts";

const PRODUCTION = { isBreakerHeldClosed: false, isEveryTryFirst: false };

interface Times {
  readonly failsAt: number;
  readonly backfillAt: number;
  readonly endsAt: number;
}

interface Outcome {
  readonly stack: string;
  readonly sent: number;
  readonly firstTries: number;
  readonly retries: number;
  readonly rejected: number;
  readonly succeeded: number;
  readonly recoverySeconds: number | null;
  /** Accounts of which nothing succeeded after the trouble. */
  readonly accountsWithoutAnswer: number;
}

process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      short: { type: "boolean", default: false },
      json: { type: "string" },
      svg: { type: "string" },
      seed: { type: "string", default: "1" },
    },
  });
  const times = values.short
    ? { failsAt: 2, backfillAt: 5, endsAt: 9 }
    : { failsAt: 20, backfillAt: 50, endsAt: 80 };
  const plan = planOf(times, { isShort: values.short, seed: Number(values.seed) });
  const [ballast, today] = await Promise.all([
    stormBallast(plan, { experiment: PRODUCTION, say: say("Ballast") }),
    stormPeer(plan, { stack: "today", say: say("today") }),
  ]);
  const outcomes = [
    outcomeOf("today's stack", today, { plan, times }),
    outcomeOf("Ballast", ballast, { plan, times }),
  ];
  print(outcomes);
  const [todays, ours] = outcomes;
  if (todays === undefined || ours === undefined) throw new Error("A run told nothing");
  const seconds = { today: today.reading.seconds, ballast: ballast.reading.seconds };
  if (values.json !== undefined) {
    writeFileSync(
      values.json,
      `${JSON.stringify({ schemaVersion: 1, plan, outcomes, seconds }, null, 2)}\n`,
    );
  }
  if (values.svg !== undefined)
    writeFileSync(values.svg, draw(seconds, { plan, times, todays, ours }));
  const missed = judge({ todays, ours }, { isShort: values.short, plan });
  for (const line of missed) process.stderr.write(`missed: ${line}\n`);
  return missed.length === 0 ? 0 : 1;
}

function say(name: string): (line: string) => void {
  return (line) => {
    process.stderr.write(`${name}: ${line}\n`);
  };
}

function planOf(
  { failsAt, backfillAt, endsAt }: Times,
  { isShort, seed }: { readonly isShort: boolean; readonly seed: number },
): StormPlan {
  const size = isShort
    ? { windowMs: 10_000, limit: 200, offeredPerSecond: 12, accounts: 6, calendarsPerAccount: 8 }
    : {
        windowMs: 60_000,
        limit: 1_000,
        offeredPerSecond: 10,
        accounts: 20,
        calendarsPerAccount: 20,
      };
  return {
    ...size,
    seed,
    seconds: isShort ? 16 : 170,
    phases: [
      { at: 0, name: "calm", faults: CALM },
      { at: failsAt, name: "every list is answered 503", faults: ALL_FAIL },
      {
        at: backfillAt,
        name: "backfill: every calendar is due",
        faults: ALL_FAIL,
        isBackfill: true,
      },
      { at: endsAt, name: "Google is well again", faults: CALM },
    ],
  };
}

function outcomeOf(
  stack: string,
  { reading }: StormRun,
  { plan, times }: { readonly plan: StormPlan; readonly times: Times },
): Outcome {
  const { endsAt } = times;
  const { sent, first, retry, rejected, ok } = reading.total({ from: 0, to: plan.seconds });
  const { offeredPerSecond } = plan;
  const served = reading.okByAccount({ from: endsAt, to: plan.seconds });
  return {
    stack,
    sent,
    firstTries: first,
    retries: retry,
    rejected,
    succeeded: ok,
    recoverySeconds: secondsToRecover(reading.seconds, { endsAt, offeredPerSecond }) ?? null,
    accountsWithoutAnswer: plan.accounts - served.size,
  };
}

function print(outcomes: readonly Outcome[]): void {
  const columns: readonly (readonly [title: string, cell: (outcome: Outcome) => string])[] = [
    ["stack", ({ stack }) => stack],
    ["sent", ({ sent }) => String(sent)],
    ["first", ({ firstTries }) => String(firstTries)],
    ["retries", ({ retries }) => String(retries)],
    ["quota refused", ({ rejected }) => String(rejected)],
    ["succeeded", ({ succeeded }) => String(succeeded)],
    ["recovered after", (outcome) => recoveryOf(outcome)],
    ["accounts without an answer since", (outcome) => String(outcome.accountsWithoutAnswer)],
  ];
  for (const [title, cell] of columns) {
    const cells = outcomes.map((outcome) => cell(outcome).padStart(18)).join("");
    process.stdout.write(`${title.padEnd(34)}${cells}\n`);
  }
}

function recoveryOf({ recoverySeconds }: Outcome): string {
  return recoverySeconds === null ? "not in the run" : `${String(recoverySeconds)} s`;
}

function draw(
  seconds: { readonly today: readonly StormSecond[]; readonly ballast: readonly StormSecond[] },
  told: {
    readonly plan: StormPlan;
    readonly times: Times;
    readonly todays: Outcome;
    readonly ours: Outcome;
  },
): string {
  const { failsAt, backfillAt, endsAt } = told.times;
  const verdict = (outcome: Outcome): string =>
    `${String(outcome.sent)} sent, ${String(outcome.retries)} of them retries, ${String(outcome.rejected)} refused for quota; recovered: ${recoveryOf(outcome)}`;
  return drawStorm(
    [
      { title: "Today's stack", seconds: seconds.today, verdict: verdict(told.todays) },
      { title: "Ballast", seconds: seconds.ballast, verdict: verdict(told.ours) },
    ],
    [
      { from: failsAt, to: backfillAt, name: "503s" },
      { from: backfillAt, to: endsAt, name: "503s, and a backfill" },
    ],
    told.plan.offeredPerSecond,
  );
}

/** What the replay is there to show; in short form by counts. */
function judge(
  { todays, ours }: { readonly todays: Outcome; readonly ours: Outcome },
  { isShort, plan }: { readonly isShort: boolean; readonly plan: StormPlan },
): readonly string[] {
  const missed: string[] = [];
  const hold = (isSo: boolean, what: string): void => {
    if (!isSo) missed.push(what);
  };
  hold(
    ours.rejected === 0,
    `Google refused ${String(ours.rejected)} of Ballast's requests for quota`,
  );
  hold(ours.retries > 0, "Ballast met no failure: the trouble did not happen");
  hold(todays.retries > 2 * ours.retries, "today's stack did not storm");
  if (isShort) return missed;
  hold(
    ours.recoverySeconds !== null && ours.recoverySeconds <= 60,
    "Ballast did not recover within 60 s",
  );
  hold(ours.accountsWithoutAnswer === 0, "an account was left without an answer");
  hold(todays.recoverySeconds === null, `today's stack recovered within ${String(plan.seconds)} s`);
  return missed;
}
