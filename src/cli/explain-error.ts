import { CommanderError } from "commander";
import { ConfigError } from "../config/config.ts";
import { Refused } from "../core/refusal.ts";
import { AlreadyRunning } from "../embedded/instance-lock.ts";
import { RedisNotFound } from "../embedded/obtain-redis.ts";
import { CliError, Interrupted } from "./cli-error.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";

/** What is told of an error, to a person and to a script. */
export interface Explanation {
  readonly exitCode: ExitCode;
  readonly code: string;
  /** Undefined: it has been said already, or there is nothing to say. */
  readonly message: string | undefined;
  readonly next: string | undefined;
}

interface Answer {
  readonly exitCode: ExitCode;
  readonly next?: string;
}

/** Errors of other rooms, by their stable codes. */
const BY_CODE: Readonly<Record<string, Answer>> = {
  BALLAST_STORE_UNAVAILABLE: {
    exitCode: EXIT.dependencyDown,
    next: "ballast doctor    (says what of DATABASE_URL or BALLAST_DATA_DIR does not answer)",
  },
  BALLAST_LEDGER_UNAVAILABLE: {
    exitCode: EXIT.dependencyDown,
    next: "ballast doctor    (asks Redis at REDIS_URL)",
  },
  BALLAST_SCHEMA_VERSION: { exitCode: EXIT.configuration, next: "ballast migrate status" },
  BALLAST_STORE_FAILED: { exitCode: EXIT.failure, next: "ballast doctor" },
  BALLAST_BEING_REMOVED: { exitCode: EXIT.failure, next: "ballast remove --status" },
  BALLAST_VAULT_KEY: { exitCode: EXIT.configuration, next: "ballast config print" },
  BALLAST_KEY_FILE: { exitCode: EXIT.configuration, next: "ballast config print" },
  BALLAST_HTTP_PUBLIC_WITHOUT_TOKENS: {
    exitCode: EXIT.configuration,
    next: "ballast tokens create --tenant … --name … --scopes read,refresh    (or set BALLAST_API_TOKENS)",
  },
  BALLAST_HTTP_ADDRESS_UNUSABLE: {
    exitCode: EXIT.configuration,
    next: "BALLAST_HTTP_PORT=0 ballast start    (any free port)",
  },
};

/** A connection that cannot be made or was lost, as Node and ioredis name it. */
const CONNECTION_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EPIPE",
]);

/** The one table from errors to exit codes and words. What is not in it is a bug, and says so. */
export function explainError(error: unknown): Explanation {
  return (
    explainOurs(error) ??
    explainByCode(error) ?? {
      exitCode: EXIT.failure,
      code: "BALLAST_UNEXPECTED",
      message: `Something unexpected went wrong: ${messageOf(error)}`,
      next: "BALLAST_LOG_LEVEL=debug ballast …    (the same again, with the stack)",
    }
  );
}

function explainOurs(error: unknown): Explanation | undefined {
  if (error instanceof CliError) {
    const { exitCode, code, message, next } = error;
    return { exitCode, code, message, next };
  }
  if (error instanceof Interrupted) {
    const exitCode = error.by === "output closed" ? EXIT.ok : EXIT.interrupted;
    return { exitCode, code: "BALLAST_INTERRUPTED", message: undefined, next: undefined };
  }
  if (error instanceof CommanderError) {
    // Commander has written its message, or the help that was asked for.
    const exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return { exitCode, code: "BALLAST_USAGE", message: undefined, next: undefined };
  }
  if (error instanceof ConfigError) {
    const next = "ballast config print    (what is in force, and where it comes from)";
    return { exitCode: EXIT.configuration, code: "BALLAST_CONFIG", message: error.message, next };
  }
  if (error instanceof AlreadyRunning) {
    const next = "ballast status    (how that one is doing)";
    const code = "BALLAST_ALREADY_RUNNING";
    return { exitCode: EXIT.failure, code, message: error.message, next };
  }
  if (error instanceof RedisNotFound) {
    const code = "BALLAST_REDIS_NOT_FOUND";
    const { message } = error;
    return { exitCode: EXIT.dependencyDown, code, message, next: "ballast start" };
  }
  return undefined;
}

function explainByCode(error: unknown): Explanation | undefined {
  const code = codeOf(error);
  if (code === undefined) return undefined;
  const known = BY_CODE[code];
  if (known !== undefined) {
    return { next: undefined, ...known, code, message: messageOf(error) };
  }
  if (error instanceof Refused) {
    const next = "ballast status";
    return { exitCode: EXIT.dependencyDown, code, message: error.message, next };
  }
  if (CONNECTION_CODES.has(code)) {
    return {
      exitCode: EXIT.dependencyDown,
      code: "BALLAST_CONNECTION",
      message: `A server that is needed does not answer: ${messageOf(error)}`,
      next: "ballast doctor    (asks each of them)",
    };
  }
  return undefined;
}

function codeOf(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    if ("code" in at && typeof at.code === "string") return at.code;
  }
  return undefined;
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Node gives an AggregateError (several addresses tried) no message of its own.
  if (error.message === "" && error instanceof AggregateError) {
    return error.errors.map((one: unknown) => messageOf(one)).join("; ");
  }
  return error.message;
}
