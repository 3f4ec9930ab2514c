/**
 * The numbers that the budget is held to, each with its negative control, and beside them what people run today: the
 * same work, the same simulator, one run. Exits 1 when a goal is missed, or a control meets it.
 *
 *   npm run bench:quota [-- --short] [--only PART[,PART]] [--json FILE] [--svg FILE] [--seed N]
 *   npm run bench:quota -- --google URL --token-url URL --refresh-tokens FILE     numbers 1 and 7, on a server not ours
 *
 * `--short` judges counts and states only: its windows are too short for times.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { inTurn } from "./in-turn.ts";
import type { BenchOptions, NumberRow } from "./number-row.ts";
import { runArrivals, runAway } from "./quota/arrivals.ts";
import { runBroker } from "./quota/broker.ts";
import { drawArrivals } from "./quota/draw-arrivals.ts";
import { runForeign } from "./quota/foreign.ts";
import { runPerson } from "./quota/person.ts";
import { runSideBySide } from "./quota/side-by-side.ts";
import { readVersions } from "./quota/versions.ts";
import { runStormNumbers } from "./storm/storm-numbers.ts";

type Part = (options: BenchOptions) => Promise<readonly NumberRow[]>;

/** Judged by counts, in full too: they may run beside others, which times may not. */
const COUNTED = ["arrivals", "away"];

const PARTS: Readonly<Record<string, Part>> = {
  "side-by-side": runSideBySide,
  arrivals: runArrivals,
  away: runAway,
  broker: runBroker,
  person: runPerson,
  storm: runStormNumbers,
};

const { values: flags } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    only: { type: "string" },
    json: { type: "string" },
    svg: { type: "string" },
    seed: { type: "string", default: "1" },
    google: { type: "string" },
    "token-url": { type: "string" },
    "refresh-tokens": { type: "string" },
  },
});
const startedMs = performance.now();
const options: BenchOptions = {
  isShort: flags.short,
  seed: Number(flags.seed),
  say: (line) => {
    process.stderr.write(`${line}\n`);
  },
};
const foreign = foreignServer();
const versions = await readVersions();
console.log(
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(", "),
);
const rows = foreign ? await runForeign(options, foreign) : await runParts();
const seconds = Math.round((performance.now() - startedMs) / 1_000);
console.table(rows.map(lineOf));
console.log(`${rows.length} rows in ${seconds} s`);
if (flags.json !== undefined) {
  const result = { versions, seed: options.seed, isShort: options.isShort, seconds, rows };
  writeFileSync(flags.json, `${JSON.stringify(result, undefined, 2)}\n`);
}
if (flags.svg !== undefined) writeFileSync(flags.svg, drawArrivals(rows));
const missed = rows.filter(({ isMet }) => isMet === false);
for (const { number, stack, measure, measured, goal } of missed) {
  process.stderr.write(`missed: ${number}, ${stack}: ${measure}: ${measured}; goal ${goal}\n`);
}
process.exitCode = missed.length === 0 ? 0 : 1;

async function runParts(): Promise<readonly NumberRow[]> {
  const names = flags.only?.split(",") ?? Object.keys(PARTS);
  const parts = names.map((name) => {
    const part = PARTS[name];
    if (!part) throw new Error(`No part ${name}; there are ${Object.keys(PARTS).join(", ")}`);
    return async (): Promise<readonly NumberRow[]> => {
      const beganMs = performance.now();
      options.say(`== ${name}`);
      const rowsOfPart = await part(options);
      options.say(`== ${name} took ${Math.round((performance.now() - beganMs) / 1_000)} s`);
      return rowsOfPart;
    };
  });
  const isNamed = (index: number, among: readonly string[]): boolean =>
    among.includes(names[index] ?? "");
  const storm = parts.filter((_, index) => isNamed(index, ["storm"]));
  const counted = parts.filter((_, index) => isNamed(index, COUNTED));
  const timed = parts.filter((_, index) => !isNamed(index, ["storm", ...COUNTED]));
  // The storm runs several fleets by itself; in full most of its time is waiting.
  const found = options.isShort
    ? [...(await inTurn([...timed, ...counted], 2)), ...(await inTurn(storm, 1))]
    : [
        ...(await inTurn([() => inTurn(counted, 2), () => inTurn(storm, 1)], 2)),
        ...(await inTurn(timed, 1)),
      ];
  return found.toSorted(byNumber);
}

function byNumber(one: NumberRow, other: NumberRow): number {
  return one.number.localeCompare(other.number, "en", { numeric: true });
}

function lineOf(row: NumberRow): Readonly<Record<string, string>> {
  const { number, measure, stack, goal, measured, isMet } = row;
  return {
    "#": number,
    measure,
    stack: stack.split(":")[0] === "control" ? stack : (stack.split(":")[0] ?? stack),
    goal,
    measured,
    met: isMet === undefined ? "" : isMet ? "yes" : "NO",
  };
}

function foreignServer(): BenchOptions["foreign"] {
  const { google, "token-url": tokenUrl, "refresh-tokens": file } = flags;
  if (google === undefined && tokenUrl === undefined && file === undefined) return undefined;
  if (google === undefined || tokenUrl === undefined || file === undefined) {
    throw new Error("A server that is not ours needs --google, --token-url and --refresh-tokens");
  }
  const refreshTokens = readFileSync(file, "utf8")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (refreshTokens.length === 0) throw new Error(`${file} holds no refresh token`);
  return { apiRootUrl: google.replace(/\/*$/, "/"), tokenUrl, refreshTokens };
}
