/**
 * The last line of I10: an error that reached the top of the process is a bug, never weather.
 *
 * States: watching → draining (once, bounded by a deadline) → ended with code 1. It is logged, never
 * swallowed: a process that goes on after one runs with state that nobody has reasoned about.
 */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "./logger.ts";

const EXIT_CODE = 1;

/** What the guard needs: how to stop well, and how to end. */
export interface ProcessGuardDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  /** Stop taking work, give back what is held, close. It may hang or fail; the guard ends all the same. */
  readonly drain: () => Promise<unknown>;
  readonly exit: (code: number) => void;
}

/** Watch for what nobody caught; returns the way to stop watching. */
export function installProcessGuard(
  options: { readonly deadlineMs: number },
  deps: ProcessGuardDeps,
): () => void {
  let isDraining = false;
  const onFatal = (origin: string, error: unknown): void => {
    if (isDraining) {
      deps.logger.log("error", "Another error nobody caught, while ending", { origin, error });
      return;
    }
    isDraining = true;
    deps.logger.log("fatal", "An error nobody caught: draining, then ending", { origin, error });
    endAfterDrain(options.deadlineMs, deps).then(deps.exit, () => {
      deps.exit(EXIT_CODE);
    });
  };
  const onException = (error: unknown): void => {
    onFatal("uncaughtException", error);
  };
  const onRejection = (reason: unknown): void => {
    onFatal("unhandledRejection", reason);
  };
  process.on("uncaughtException", onException);
  process.on("unhandledRejection", onRejection);
  return () => {
    process.off("uncaughtException", onException);
    process.off("unhandledRejection", onRejection);
  };
}

async function endAfterDrain(deadlineMs: number, deps: ProcessGuardDeps): Promise<number> {
  const finished = new AbortController();
  await Promise.race([drainAndLog(deps), waitAndLog(deadlineMs, finished.signal, deps)]);
  finished.abort();
  return EXIT_CODE;
}

async function drainAndLog(deps: ProcessGuardDeps): Promise<void> {
  try {
    await deps.drain();
  } catch (error) {
    deps.logger.log("error", "Draining failed", { error });
  }
}

async function waitAndLog(
  deadlineMs: number,
  signal: AbortSignal,
  deps: ProcessGuardDeps,
): Promise<void> {
  try {
    await deps.clock.sleep(deadlineMs, signal);
    deps.logger.log("error", "Draining took too long: ending all the same", { deadlineMs });
  } catch {
    // Drained in time.
  }
}
