import { Command } from "commander";
import { exitCodes, type AddCommand, type CommandContext } from "./command-context.ts";
import { explainError } from "./explain-error.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";

/**
 * In the order in which `--help` lists them: the way of a new user. Loaded by name, because a command
 * that reads one row should not wait for Google's client and a simulator.
 */
const COMMANDS: ReadonlyMap<string, () => Promise<AddCommand>> = new Map([
  ["start", async () => (await import("./commands/start.ts")).addStartCommand],
  ["connect", async () => (await import("./commands/connect.ts")).addConnectCommand],
  ["import", async () => (await import("./commands/import.ts")).addImportCommand],
  ["accounts", async () => (await import("./commands/accounts.ts")).addAccountsCommand],
  ["calendars", async () => (await import("./commands/calendars.ts")).addCalendarsCommand],
  ["events", async () => (await import("./commands/events.ts")).addEventsCommand],
  ["busy", async () => (await import("./commands/busy.ts")).addBusyCommand],
  ["refresh", async () => (await import("./commands/refresh.ts")).addRefreshCommand],
  ["status", async () => (await import("./commands/status.ts")).addStatusCommand],
  ["quota", async () => (await import("./commands/quota.ts")).addQuotaCommand],
  ["resume", async () => (await import("./commands/resume.ts")).addResumeCommand],
  ["tokens", async () => (await import("./commands/tokens.ts")).addTokensCommand],
  ["webhooks", async () => (await import("./commands/webhooks.ts")).addWebhooksCommand],
  ["remove", async () => (await import("./commands/remove.ts")).addRemoveCommand],
  ["doctor", async () => (await import("./commands/doctor.ts")).addDoctorCommand],
  ["keys", async () => (await import("./commands/keys.ts")).addKeysCommand],
  ["migrate", async () => (await import("./commands/migrate.ts")).addMigrateCommand],
  ["config", async () => (await import("./commands/config.ts")).addConfigCommand],
  ["worker", async () => (await import("./commands/serve.ts")).addWorkerCommand],
  ["web", async () => (await import("./commands/serve.ts")).addWebCommand],
  ["simulate", async () => (await import("./commands/simulate.ts")).addSimulateCommand],
]);

/** Run one command line; every error ends here, as words and an exit code. */
export async function runCli(args: readonly string[], context: CommandContext): Promise<ExitCode> {
  try {
    const program = createProgram(context);
    for (const load of commandsFor(args)) (await load())(program, context);
    await program.parseAsync([...args], { from: "user" });
    return exitCodes.get(context) ?? EXIT.ok;
  } catch (error) {
    // Whatever a command threw on its way out of an interruption is a consequence of it.
    return tell(context.interrupted.aborted ? context.interrupted.reason : error, args, context);
  }
}

function createProgram(context: CommandContext): Command {
  return new Command("ballast")
    .description(
      "Keeps a mirror of Google calendars fresh, and cannot exhaust the Google quota by its own retries.",
    )
    .version("0.1.0")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.output.data(text.trimEnd()),
      writeErr: (text) => context.output.say(text.trimEnd()),
    })
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("(add --help for what there is, with examples)")
    .addHelpText(
      "after",
      `
Examples:
  ballast start                      everything in one process; the simulator without Google credentials
  ballast status --watch             how it is going
  ballast calendars --state stale    which calendars are behind

Exit codes: 0 ok, 1 failure, 2 usage, 3 partial, 4 configuration or credentials, 5 a dependency is down, 130 interrupted.
Variables: ballast config print`,
    );
}

/** The command that is named first; all of them where none is: for the help, and for `unknown command`. */
function commandsFor(args: readonly string[]): Iterable<() => Promise<AddCommand>> {
  const named = COMMANDS.get(args[0] ?? "");
  return named === undefined ? COMMANDS.values() : [named];
}

function tell(error: unknown, args: readonly string[], context: CommandContext): ExitCode {
  const { exitCode, code, message, next } = explainError(error);
  const { output, env } = context;
  if (message !== undefined) {
    if (args.includes("--json")) {
      output.say(JSON.stringify({ schemaVersion: 1, error: { code, message, next } }));
    } else {
      output.say(`${output.paintTalk("red", "ballast:")} ${message}`);
      if (next !== undefined) output.say(`  next: ${next}`);
    }
  }
  const level = env["BALLAST_LOG_LEVEL"];
  if ((level === "debug" || level === "trace") && error instanceof Error) {
    output.say(error.stack ?? String(error));
    for (let at = error.cause; at instanceof Error; at = at.cause) {
      output.say(`because ${at.stack ?? String(at)}`);
    }
  }
  return exitCode;
}
