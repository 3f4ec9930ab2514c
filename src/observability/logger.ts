import { pino } from "pino";
import { describeError } from "./describe-error.ts";
import { scrubFields, scrubText } from "./scrub.ts";

/** Facts of a log line. An `error` is described by its whitelist; all else is scrubbed. */
export type LogFields = Readonly<Record<string, unknown>>;

/** The levels a line can have. */
export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal";

/** Constant messages, data in fields: so that lines can be counted and searched. */
export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
  /** The same log with fields on every line. */
  with(fields: LogFields): Logger;
}

/** Write log lines: JSON, or a compact line for people at a terminal. Synchronous, so the last words are out before an exit. */
export function createLogger(
  options: { readonly level: LogLevel | "silent"; readonly format: "json" | "text" },
  deps: { readonly write: (line: string) => void },
): Logger {
  const stream = {
    write: (line: string): void => {
      deps.write(options.format === "json" ? line : formatLine(line));
    },
  };
  const base = pino(
    {
      level: options.level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: "message",
    },
    stream,
  );
  return wrap(base, {});
}

function wrap(base: pino.Logger, context: LogFields): Logger {
  return {
    log: (level, message, fields = {}) => {
      if (!base.isLevelEnabled(level)) return;
      base[level](prepare({ ...context, ...fields }), scrubText(message));
    },
    with: (fields) => wrap(base, { ...context, ...fields }),
  };
}

function prepare(fields: LogFields): Record<string, unknown> {
  const { error, ...rest } = fields;
  const scrubbed = scrubFields(rest);
  return error === undefined ? scrubbed : { ...scrubbed, error: describeError(error) };
}

/** `12:03:04 info  Worker started  concurrency=10` */
function formatLine(line: string): string {
  const parsed: unknown = JSON.parse(line);
  if (typeof parsed !== "object" || parsed === null) return line;
  const fields = new Map<string, unknown>(Object.entries(parsed));
  const [time, level, message, error] = ["time", "level", "message", "error"].map((name) => {
    const value = fields.get(name);
    fields.delete(name);
    return value;
  });
  fields.delete("pid");
  const facts = [...fields].map(([name, value]) => `${name}=${showFact(value)}`).join(" ");
  const head = `${String(time).slice(11, 19)} ${String(level).padEnd(5)} ${String(message)}`;
  const tail = error === undefined ? "" : `\n         ${describeCauses(error)}`;
  return `${facts === "" ? head : `${head}  ${facts}`}${tail}\n`;
}

function showFact(value: unknown): string {
  return typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

function describeCauses(error: unknown): string {
  const lines: string[] = [];
  for (let at = error; typeof at === "object" && at !== null; at = read(at, "cause")) {
    lines.push(`${String(read(at, "name"))}: ${String(read(at, "message"))}`);
  }
  return lines.join("\n         because ");
}

function read(object: object, name: string): unknown {
  return Reflect.get(object, name) as unknown;
}
