import type { Command } from "commander";
import { loadConfig } from "../../config/config.ts";
import { describeConfig, formatConfig } from "../../config/describe-config.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";

/** `ballast config print`: every variable, its value and where it comes from; never a secret. */
export function addConfigCommand(program: Command, context: CommandContext): void {
  const config = program.command("config").description("The configuration in force");
  config
    .command("print")
    .description("Print every variable, its value (secrets hidden) and where it comes from")
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Exit code 4: the configuration cannot be used; every problem is listed after the table.

Examples:
  ballast config print
  BALLAST_HTTP_PORT=9000 ballast config print --json`,
    )
    .action(runs<{ readonly json?: true }>(context, (options) => printConfig(options, context)));
}

function printConfig(
  options: { readonly json?: true },
  { env, output }: CommandContext,
): Promise<ExitCode> {
  const entries = describeConfig(env);
  if (options.json) output.json({ variables: entries });
  else output.data(formatConfig(entries));
  // Throws with every problem when it cannot be used: the table above says where each value came from.
  for (const warning of loadConfig(env).warnings) output.say(`warning: ${warning}`);
  return Promise.resolve(EXIT.ok);
}
