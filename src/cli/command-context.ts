import type { Command } from "commander";
import { loadConfig, type Config } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import type { ExitCode } from "./exit-codes.ts";
import type { Output } from "./output.ts";

/** What every command works with. */
export interface CommandContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly output: Output;
  /** Aborted by the first Ctrl-C, with an `Interrupted`. */
  readonly interrupted: AbortSignal;
  /** Say that this command ends what it started by itself; else it is cut off soon after Ctrl-C. */
  readonly drainsItself: () => void;
  /** End the process at once; for the guard of last resort. */
  readonly exit: (code: number) => void;
}

/** Adds one command (with its subcommands) to the program. */
export type AddCommand = (program: Command, context: CommandContext) => void;

/** Where a handler leaves what the process ends with. */
export const exitCodes = new WeakMap<CommandContext, ExitCode>();

/** An action whose result is the exit code. */
export function runs<Options>(
  context: CommandContext,
  run: (options: Options) => Promise<ExitCode>,
): (options: Options) => Promise<void> {
  return async (options) => {
    exitCodes.set(context, await run(options));
  };
}

/** The configuration, with what is odd about it said once. Throws `ConfigError` with every problem. */
export function readConfig(context: CommandContext): Config {
  const config = loadConfig(context.env);
  for (const warning of config.warnings) {
    context.output.say(context.output.paintTalk("yellow", `warning: ${warning}`));
  }
  return config;
}
