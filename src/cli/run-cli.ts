import { Command } from "commander";
import { addCalendarsCommand } from "./commands/calendars.ts";
import { addConfigCommand } from "./commands/config.ts";
import { addConnectCommand } from "./commands/connect.ts";
import { addDoctorCommand } from "./commands/doctor.ts";
import { addEventsCommand } from "./commands/events.ts";
import { addMigrateCommand } from "./commands/migrate.ts";
import { addRefreshCommand } from "./commands/refresh.ts";
import { addServeCommands } from "./commands/serve.ts";
import { addSimulateCommand } from "./commands/simulate.ts";
import { addStartCommand } from "./commands/start.ts";
import { addStatusCommand } from "./commands/status.ts";
import { exitCodes, type AddCommand, type CommandContext } from "./command-context.ts";
import { explainError } from "./explain-error.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";

/** In the order in which `--help` lists them: the way of a new user. */
const COMMANDS: readonly AddCommand[] = [
  addStartCommand,
  addConnectCommand,
  addCalendarsCommand,
  addEventsCommand,
  addRefreshCommand,
  addStatusCommand,
  addDoctorCommand,
  addMigrateCommand,
  addConfigCommand,
  addServeCommands,
  addSimulateCommand,
];

/** Run one command line; every error ends here, as words and an exit code. */
export async function runCli(args: readonly string[], context: CommandContext): Promise<ExitCode> {
  try {
    await createProgram(context).parseAsync([...args], { from: "user" });
    return exitCodes.get(context) ?? EXIT.ok;
  } catch (error) {
    // Whatever a command threw on its way out of an interruption is a consequence of it.
    return tell(context.interrupted.aborted ? context.interrupted.reason : error, args, context);
  }
}

function createProgram(context: CommandContext): Command {
  const program = new Command("ballast")
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
  for (const add of COMMANDS) add(program, context);
  return program;
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
