import { writeFile } from "node:fs/promises";
import type { Command } from "commander";
import { z } from "zod";
import { runSimulator } from "../../simulator/run-simulator.ts";
import { rate, wholeNumber } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { untilInterrupted } from "../until-interrupted.ts";

type Simulator = Awaited<ReturnType<typeof runSimulator>>;

interface Options {
  readonly host: string;
  readonly port: number;
  readonly seedFile?: string;
  readonly seed?: string;
  readonly accounts?: number;
  readonly calendars?: number;
  readonly events?: number;
  readonly state?: string;
  readonly faults?: string;
  readonly changesPerSecond?: number;
  readonly quotaProject?: number;
  readonly quotaUser?: number;
  readonly quotaDay?: number;
  readonly quotaWindow?: number;
  readonly keepHistory?: true;
  readonly tokensFile?: string;
  readonly json?: true;
}

const MANY = 1_000_000_000;

/** `ballast simulate`: a fake Google Calendar to test sync code against, ours or anybody's. */
export function addSimulateCommand(program: Command, context: CommandContext): void {
  program
    .command("simulate")
    .description("Run a fake Google Calendar over HTTP, with quotas, faults and push notifications")
    .option("--host <host>", "where to listen", "127.0.0.1")
    .option("--port <port>", "0: any free one", wholeNumber(0, 65_535), 0)
    .option("--seed-file <file>", "calendars to start with, as JSON")
    .option("--seed <text>", "whatever is random follows from it")
    .option("--accounts <n>", "so many accounts (3)", wholeNumber(1, 10_000))
    .option(
      "--calendars <n>",
      "calendars per account besides its primary one (4)",
      wholeNumber(0, 10_000),
    )
    .option("--events <n>", "events per calendar (40)", wholeNumber(0, 1_000_000))
    .option("--state <file>", "carry on from this file, and keep it up to date")
    .option("--faults <file>", "a fault script, as JSON")
    .option("--changes-per-second <rate>", "make random changes", rate)
    .option("--quota-project <n>", "requests per window for the project", wholeNumber(1, MANY))
    .option("--quota-user <n>", "requests per window for each quota user", wholeNumber(1, MANY))
    .option("--quota-day <n>", "requests per day", wholeNumber(1, MANY))
    .option("--quota-window <seconds>", "length of the sliding window (60)", wholeNumber(1, 3_600))
    .option("--keep-history", "keep every version of every event, for /_control/oracle")
    .option("--tokens-file <file>", "write the accounts' refresh tokens there, one a line")
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Prints the variables that point a client (Ballast, or yours) at it, then runs until Ctrl-C.
Control routes (requests, counters, faults, changes) are below /_control/.

Examples:
  ballast simulate --accounts 10 --calendars 6 --changes-per-second 5
  ballast simulate --port 8085 --quota-project 1000 --faults outage.json
  ballast simulate --seed-file calendars.json --state world.json --json`,
    )
    .action(runs<Options>(context, (options) => simulate(options, context)));
}

async function simulate(options: Options, context: CommandContext): Promise<ExitCode> {
  context.drainsItself();
  const simulator = await start(options);
  try {
    if (options.tokensFile !== undefined) {
      const tokens = simulator.accounts().map(({ refreshToken }) => `${refreshToken}\n`);
      await writeFile(options.tokensFile, tokens.join(""), { mode: 0o600 });
    }
    print(simulator, options, context);
    await untilInterrupted(context.interrupted);
    return EXIT.ok;
  } finally {
    await simulator.close();
  }
}

async function start(options: Options): Promise<Simulator> {
  const limits = {
    ...(options.quotaProject === undefined ? {} : { projectPerWindow: options.quotaProject }),
    ...(options.quotaUser === undefined ? {} : { userPerWindow: options.quotaUser }),
    ...(options.quotaDay === undefined ? {} : { perDay: options.quotaDay }),
    ...(options.quotaWindow === undefined ? {} : { windowSeconds: options.quotaWindow }),
  };
  try {
    const { host, port, seedFile, seed, accounts, calendars, events, changesPerSecond } = options;
    return await runSimulator({
      host,
      port,
      seedFile,
      seed,
      accounts,
      calendars,
      events,
      changesPerSecond,
      stateFile: options.state,
      faultScript: options.faults,
      keepsHistory: options.keepHistory,
      limits,
    });
  } catch (error) {
    throw new CliError(`The simulator cannot start: ${describe(error)}`, {
      exitCode: EXIT.configuration,
      code: "BALLAST_SIMULATOR",
      next: "ballast simulate --help",
      cause: error,
    });
  }
}

/** Seed files and fault scripts are parsed where they are used: the places that do not fit are named. */
function describe(error: unknown): string {
  if (error instanceof z.ZodError) return `a file does not fit:\n${z.prettifyError(error)}`;
  return error instanceof Error ? error.message : String(error);
}

function print(simulator: Simulator, options: Options, { output }: CommandContext): void {
  const accounts = simulator.accounts().map(({ email, refreshToken }) => ({ email, refreshToken }));
  const { url, tokenUrl, authUrl, controlUrl } = simulator;
  if (options.json) {
    output.json({ apiRootUrl: url, tokenUrl, authUrl, controlUrl, accounts });
  } else {
    output.data(
      [
        `GOOGLE_API_ROOT_URL=${url}`,
        `GOOGLE_OAUTH_TOKEN_URL=${tokenUrl}`,
        `GOOGLE_OAUTH_AUTH_URL=${authUrl}`,
        "GOOGLE_CLIENT_ID=simulated",
        "GOOGLE_CLIENT_SECRET=simulated",
        "# refresh tokens:",
        ...accounts.map(({ email, refreshToken }) => `#   ${email}  ${refreshToken}`),
      ].join("\n"),
    );
  }
  output.say(`A fake Google Calendar answers at ${url}. Ctrl-C stops it.`);
}
