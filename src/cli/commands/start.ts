import type { Command } from "commander";
import { startApp } from "../../app.ts";
import { loadConfig, type Config } from "../../config/config.ts";
import { acquireInstanceLock } from "../../embedded/instance-lock.ts";
import { openAppStore } from "../../operator-app.ts";
import { chooseRedis } from "../choose-redis.ts";
import { CliError } from "../cli-error.ts";
import { readConfig, runs, type CommandContext } from "../command-context.ts";
import { startDemoGoogle, type DemoGoogle } from "../demo-google.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { findHttpPort } from "../find-http-port.ts";
import { runService, type Starting } from "../run-service.ts";
import { announceRunning, withdrawRunning } from "../running-service.ts";
import { showFreshness } from "../show-freshness.ts";
import { drainOf } from "./serve.ts";

interface Options {
  readonly json?: true;
}

/** `ballast start`: everything in one process, with whatever is missing brought along. */
export function addStartCommand(program: Command, context: CommandContext): void {
  program
    .command("start")
    .description("Run everything in one process: private Redis, SQLite, and a simulated Google")
    .option("--json", "one JSON document when it runs")
    .addHelpText(
      "after",
      `
Without REDIS_URL it runs a private Redis, without DATABASE_URL an SQLite file, without Google credentials
the simulator; what they keep is in BALLAST_DATA_DIR (.ballast), and the next start carries on from there.
Ctrl-C finishes or gives back what is running and stops everything that was started; a second one ends at once.

Examples:
  ballast start
  GOOGLE_CLIENT_ID=… GOOGLE_CLIENT_SECRET=… ballast start    the real Google; then: ballast connect
  BALLAST_DATA_DIR=/var/lib/ballast BALLAST_HTTP_PORT=9000 ballast start`,
    )
    .action(runs<Options>(context, (options) => start(options, context)));
}

function start(options: Options, context: CommandContext): Promise<ExitCode> {
  const config = readConfig(context);
  requireWholeGoogle(config);
  return runService({ config, audience: "person" }, context, async (starting) => {
    const { started } = starting;
    const lock = await acquireInstanceLock(config.dataDirectory);
    started.push({ name: "instance lock", run: () => lock.release() });
    const redis = await chooseRedis(starting, context);
    context.interrupted.throwIfAborted();
    const demo =
      config.google.client === undefined ? await startDemoGoogle(starting, context) : undefined;
    const app = await startParts({ starting, demo, redis: redis.address }, context);
    const google =
      demo === undefined
        ? `Google, at ${config.google.apiRootUrl}`
        : `the simulator, at ${demo.url} (GOOGLE_CLIENT_ID is not set)`;
    const facts = { redis: redis.description, database: describeDatabase(config), google };
    tell({ ...facts, httpUrl: app.httpUrl, hasDemo: demo !== undefined }, options, context);
    watch({ starting, ...app }, context);
  });
}

/** Only the address of a Google, and no credentials for it: it would be ignored without a word. */
function requireWholeGoogle({ google }: Config): void {
  if (google.client !== undefined) return;
  const { apiRootUrl } = loadConfig({}).google;
  if (google.apiRootUrl === apiRootUrl) return;
  throw new CliError(
    `GOOGLE_API_ROOT_URL is ${google.apiRootUrl}, but GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not set.`,
    {
      exitCode: EXIT.configuration,
      code: "BALLAST_NO_CLIENT",
      next: "set both (a simulator takes any), or unset GOOGLE_API_ROOT_URL for the built-in simulator",
    },
  );
}

interface Parts {
  readonly httpUrl: string;
  readonly store: Awaited<ReturnType<typeof openAppStore>>;
  readonly status: Awaited<ReturnType<typeof startApp>>["status"];
  readonly done: () => { readonly runs: number; readonly eventsChanged: number };
}

async function startParts(
  from: {
    readonly starting: Starting;
    readonly demo: DemoGoogle | undefined;
    readonly redis: string;
  },
  context: CommandContext,
): Promise<Parts> {
  const { starting, demo, redis } = from;
  const { clock, output, env } = context;
  const { started, logger } = starting;
  const base = demo?.config ?? starting.config;
  const port = await findHttpPort(base.http, env);
  if (port !== base.http.port) {
    output.say(`Port ${String(base.http.port)} is taken by another program; using a free one.`);
  }
  const http = { ...base.http, port };
  const config = { ...base, http: demo === undefined ? http : reachableByDemo(http) };
  let jobs = 0;
  let eventsChanged = 0;
  const app = await startApp(
    config,
    // Only a database of our own: a Postgres is shared, and its schema is changed on purpose.
    { role: "all", redis, migrateWhenEmpty: config.database.kind === "sqlite" },
    {
      clock,
      logger,
      onRunFinished: ({ facts }) => {
        jobs += 1;
        for (const name of ["inserted", "updated", "deleted"]) {
          const changed = facts[name];
          if (typeof changed === "number") eventsChanged += changed;
        }
      },
    },
  );
  started.push({ name: "service", run: drainOf(app) });
  await demo?.connectAccounts();
  const store = await openAppStore(config, { clock });
  started.push({ name: "status line", run: () => store.close() });
  const httpUrl = app.httpUrl ?? "";
  await announceRunning(config.dataDirectory, { pid: process.pid, httpUrl });
  started.push({ name: "announcement", run: () => withdrawRunning(config.dataDirectory) });
  return {
    httpUrl,
    store,
    status: () => app.status(),
    done: () => ({ runs: jobs, eventsChanged }),
  };
}

/** The simulator runs beside the service: it can notify it, so that push is seen to work. */
function reachableByDemo(http: Config["http"]): Config["http"] {
  const isReachable = http.port !== 0 && ["127.0.0.1", "localhost", "0.0.0.0"].includes(http.host);
  if (http.publicUrl !== undefined || !isReachable) return http;
  return { ...http, publicUrl: `http://127.0.0.1:${String(http.port)}` };
}

function describeDatabase({ database }: Config): string {
  if (database.kind === "sqlite") return `SQLite, ${database.path}`;
  const { hostname, pathname } = new URL(database.url);
  return `Postgres, ${pathname.slice(1)} at ${hostname === "" ? "a socket" : hostname}`;
}

function tell(
  facts: {
    readonly redis: string;
    readonly database: string;
    readonly google: string;
    readonly httpUrl: string;
    readonly hasDemo: boolean;
  },
  options: Options,
  { output }: CommandContext,
): void {
  const { redis, database, google, httpUrl, hasDemo } = facts;
  output.say(`${output.paintTalk("bold", "Ballast is running.")} Ctrl-C stops it.`);
  output.say(`  Redis      ${redis}`);
  output.say(`  database   ${database}`);
  output.say(`  Google     ${google}`);
  output.say(
    `  HTTP       ${output.paintTalk("cyan", httpUrl)}  (/livez /readyz /metrics /status.json)`,
  );
  if (!hasDemo) output.say("Connect accounts: ballast connect --tenant T --account A");
  if (options.json) output.json({ pid: process.pid, httpUrl, redis, database, google });
}

/** The line about freshness, beside everything else; it ends before the database is closed. */
function watch(
  of: { readonly starting: Starting } & Pick<Parts, "store" | "status" | "done">,
  context: CommandContext,
): void {
  const ending = new AbortController();
  const { logger, started } = of.starting;
  const signal = AbortSignal.any([ending.signal, context.interrupted]);
  const watching = showFreshness({ ...of, signal }, context).catch((error: unknown) => {
    // The service goes on without its line: /status.json and `ballast status` say the same.
    if (!signal.aborted) logger.log("warn", "The freshness line stopped", { error });
  });
  started.push({
    name: "freshness line",
    run: async () => {
      ending.abort(new Error("Stopping"));
      await watching;
    },
  });
}
