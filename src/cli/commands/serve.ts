import type { Command } from "commander";
import { makeDirectory } from "../../embedded/make-directory.ts";
import { startApp } from "../../app.ts";
import { requireNamedRedis } from "../choose-redis.ts";
import { CliError } from "../cli-error.ts";
import { readConfig, runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { runService, type Starting } from "../run-service.ts";
import { announceRunning, withdrawRunning } from "../running-service.ts";

interface Options {
  readonly json?: true;
}

/** `ballast worker`: syncs, in a process of its own on a Redis and a database that it shares with others. */
export function addWorkerCommand(program: Command, context: CommandContext): void {
  program
    .command("worker")
    .description("Sync calendars: one process of several on one Redis and one database")
    .option("--json", "one JSON document when it runs")
    .addHelpText("after", examples("worker"))
    .action(runs<Options>(context, (options) => serve("worker", options, context)));
}

/** `ballast web`: answers HTTP, beside workers. */
export function addWebCommand(program: Command, context: CommandContext): void {
  program
    .command("web")
    .description("Answer HTTP: health, metrics, status page, refresh requests")
    .option("--json", "one JSON document when it runs")
    .addHelpText("after", examples("web"))
    .action(runs<Options>(context, (options) => serve("web", options, context)));
}

function examples(role: string): string {
  return `
Needs REDIS_URL and a database whose schema was applied (ballast migrate apply). Ctrl-C or SIGTERM drains.

Examples:
  REDIS_URL=redis://127.0.0.1:6379 DATABASE_URL=postgres://ballast@127.0.0.1/ballast ballast ${role}`;
}

async function serve(
  role: "worker" | "web",
  options: Options,
  context: CommandContext,
): Promise<ExitCode> {
  const config = readConfig(context);
  if (role === "worker" && config.google.client === undefined) {
    throw new CliError("GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not set.", {
      exitCode: EXIT.configuration,
      code: "BALLAST_NO_CLIENT",
      next: "set both, or: ballast start    (syncs the simulator without them)",
    });
  }
  return runService({ config, audience: "log" }, context, async (starting) => {
    const redis = await requireNamedRedis(starting, context);
    const app = await startApp(
      config,
      { role, redis: redis.address },
      { clock: context.clock, logger: starting.logger },
    );
    starting.started.push({ name: role, run: drainOf(app) });
    const httpUrl = app.httpUrl ?? null;
    if (httpUrl !== null) await announce(httpUrl, starting);
    if (options.json) context.output.json({ role, redis: redis.description, httpUrl });
    context.output.say(
      role === "web"
        ? `Answering at ${app.httpUrl ?? ""} on ${redis.description}.`
        : `Syncing on ${redis.description}.`,
    );
  });
}

/** So that `ballast status` on this machine finds it. */
async function announce(httpUrl: string, { config, started }: Starting): Promise<void> {
  await makeDirectory(config.dataDirectory);
  await announceRunning(config.dataDirectory, { pid: process.pid, httpUrl });
  started.push({ name: "announcement", run: () => withdrawRunning(config.dataDirectory) });
}

/** Its own steps have deadlines; one that was left behind is this step's failure. */
export function drainOf(app: Awaited<ReturnType<typeof startApp>>): () => Promise<void> {
  return async () => {
    const left = (await app.drain()).filter(({ outcome }) => outcome !== "done");
    if (left.length > 0) {
      throw new Error(left.map(({ name, outcome }) => `${name} ${outcome}`).join(", "));
    }
  };
}
