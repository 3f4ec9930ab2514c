import { EXIT, type ExitCode } from "./exit-codes.ts";

/** A command cannot go on; says what, with which value, why, and what to type next. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly exitCode: ExitCode;
  /** Stable, for `--json`. */
  readonly code: string;
  readonly next: string | undefined;

  constructor(
    message: string,
    about: {
      readonly exitCode: ExitCode;
      readonly code: string;
      readonly next?: string;
      readonly cause?: unknown;
    },
  ) {
    super(message, { cause: about.cause });
    this.exitCode = about.exitCode;
    this.code = about.code;
    this.next = about.next;
  }
}

/** Options that are each well-formed and do not fit together. */
export function usageError(message: string): CliError {
  return new CliError(message, {
    exitCode: EXIT.usage,
    code: "BALLAST_USAGE",
    next: "the same command with --help",
  });
}

/** The first Ctrl-C (or SIGTERM), or whoever read our output has gone: the reason of the interruption. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly by: NodeJS.Signals | "output closed";

  constructor(by: NodeJS.Signals | "output closed") {
    super(`Interrupted (${by})`);
    this.by = by;
  }
}
