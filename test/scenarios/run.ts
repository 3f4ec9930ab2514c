import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { runAccounts } from "./accounts/run-accounts.ts";
import { runCrash } from "./crash/run-crash.ts";
import { runIsolation } from "./isolation/run-isolation.ts";
import { runLanes } from "./lanes/run-lanes.ts";
import { runImportRemove } from "./import-remove/run-import-remove.ts";
import { runMirror } from "./mirror/run-mirror.ts";
import { runPlanner } from "./planner/run-planner.ts";
import { runPoison } from "./poison/run-poison.ts";
import { runPush } from "./push/run-push.ts";
import { runReadSurge } from "./read-surge/run-read-surge.ts";
import { runSlowDatabase } from "./slow-database/run-slow-database.ts";
import { runSurge } from "./surge/run-surge.ts";
import type { Scenario, ScenarioOptions } from "./scenario.ts";

/**
 * `npm run scenario -- NAME [--short] [--seed N]`: runs one scenario, prints one JSON line of figures
 * last, and exits 1 when a bound is missed, 2 when it was called wrongly.
 */
const SCENARIOS: Readonly<Record<string, Scenario>> = {
  accounts: runAccounts,
  crash: runCrash,
  isolation: runIsolation,
  lanes: runLanes,
  "import-remove": runImportRemove,
  mirror: runMirror,
  planner: runPlanner,
  poison: runPoison,
  push: runPush,
  "read-surge": runReadSurge,
  "slow-database": runSlowDatabase,
  surge: runSurge,
};

const USAGE = `usage: npm run scenario -- NAME [--short] [--seed N]
  [--google URL --token-url URL --refresh-tokens FILE]   a server that is not ours
names: ${Object.keys(SCENARIOS).join(", ")}`;

process.exitCode = await main();

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      short: { type: "boolean", default: false },
      seed: { type: "string" },
      google: { type: "string" },
      "token-url": { type: "string" },
      "refresh-tokens": { type: "string" },
    },
  });
  const scenario = SCENARIOS[positionals[0] ?? ""];
  if (scenario === undefined) {
    process.stderr.write(`${USAGE}\n`);
    return 2;
  }
  const seed = Number(values.seed ?? Date.now() % 1_000_000);
  process.stderr.write(`scenario ${String(positionals[0])}, seed ${String(seed)}\n`);
  const { figures, missed } = await scenario({
    short: values.short,
    seed,
    foreign: foreignServer(values),
    say: (line) => {
      process.stderr.write(`${line}\n`);
    },
  });
  for (const line of missed) process.stderr.write(`missed: ${line}\n`);
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  return missed.length === 0 ? 0 : 1;
}

/** The flags override the variables; tokens are one a line. */
function foreignServer(flags: {
  readonly google?: string | undefined;
  readonly "token-url"?: string | undefined;
  readonly "refresh-tokens"?: string | undefined;
}): ScenarioOptions["foreign"] {
  const apiRootUrl = flags.google ?? process.env["GOOGLE_API_ROOT_URL"];
  const tokenUrl = flags["token-url"] ?? process.env["GOOGLE_OAUTH_TOKEN_URL"];
  const file = flags["refresh-tokens"];
  if (apiRootUrl === undefined && file === undefined) return undefined;
  if (apiRootUrl === undefined || tokenUrl === undefined || file === undefined) {
    throw new Error(
      "A server that is not ours needs --google, --token-url and --refresh-tokens (or GOOGLE_API_ROOT_URL and GOOGLE_OAUTH_TOKEN_URL for the first two)",
    );
  }
  const refreshTokens = readFileSync(file, "utf8")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return { apiRootUrl: apiRootUrl.replace(/\/*$/, "/"), tokenUrl, refreshTokens };
}
