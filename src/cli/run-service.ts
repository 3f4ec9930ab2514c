/**
 * A command that runs until it is told to stop.
 *
 * States: starting → running → stopping (Ctrl-C, a failing step, or an error nobody caught) → stopped. What
 * was started is stopped in reverse order, once, whichever way it ends.
 */
import type { Config } from "../config/config.ts";
import { runDrain, type DrainedStep, type DrainStep } from "../core/drain.ts";
import { createLogger, type Logger } from "../observability/logger.ts";
import { installProcessGuard } from "../observability/process-guard.ts";
import type { CommandContext } from "./command-context.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";
import { untilInterrupted } from "./until-interrupted.ts";

/** Ending a child server or saving a file may take so long, each on top of the configured time. */
const STEP_MS = 10_000;

/** What a starting service is given; each part adds the step that stops it. */
export interface Starting {
  readonly config: Config;
  readonly logger: Logger;
  readonly started: DrainStep[];
}

/** Who reads what it says while it runs, where that is no terminal. */
type Audience = "person" | "log";

/** Start, run until Ctrl-C, stop. 0: everything was stopped in order. */
export async function runService(
  service: { readonly config: Config; readonly audience: Audience },
  context: CommandContext,
  start: (starting: Starting) => Promise<void>,
): Promise<ExitCode> {
  const { config, audience } = service;
  context.drainsItself();
  const { clock, output, interrupted } = context;
  const logger = createServiceLogger(audience, config, context);
  const started: DrainStep[] = [];
  const stop = (): Promise<readonly DrainedStep[]> => {
    const steps = started.splice(0).toReversed();
    return runDrain(steps, { clock, deadlineMs: (config.shutdownMs + STEP_MS) * steps.length });
  };
  const unguard = installProcessGuard(
    { deadlineMs: config.shutdownMs + STEP_MS },
    { logger, clock, drain: stop, exit: context.exit },
  );
  try {
    await start({ config, logger, started });
    await untilInterrupted(interrupted);
    output.say("Stopping: what is running is finished or given back. Ctrl-C again ends at once.");
  } catch (error) {
    await stop();
    throw error;
  } finally {
    unguard();
  }
  return report(await stop(), context);
}

function report(steps: readonly DrainedStep[], { output }: CommandContext): ExitCode {
  const failed = steps.filter(({ outcome }) => outcome !== "done");
  for (const step of failed) {
    const reason = step.outcome === "failed" ? `: ${describe(step.error)}` : "";
    output.say(`${step.name} did not stop in order (${step.outcome}${reason}).`);
  }
  if (failed.length === 0) output.say("Stopped.");
  return failed.length === 0 ? EXIT.ok : EXIT.failure;
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A person gets lines to read, and no line per job unless it was asked for; a log collector gets all, as JSON. */
function createServiceLogger(
  audience: Audience,
  config: Config,
  { env, output }: CommandContext,
): Logger {
  const isForPerson = output.isTerminal || audience === "person";
  const isChosen = (env["BALLAST_LOG_LEVEL"] ?? "") !== "";
  const level = isForPerson && !isChosen ? "warn" : config.logLevel;
  return createLogger(
    { level, format: isForPerson ? "text" : "json" },
    { write: (line) => output.say(line.trimEnd()) },
  );
}
