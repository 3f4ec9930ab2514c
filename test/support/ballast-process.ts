import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { z } from "zod";

const ENTRY = join(import.meta.dirname, "..", "..", "src", "cli", "ballast.ts");

/** How a command ended and what it said. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A `ballast` that runs in a process of its own. */
export interface BallastProcess {
  readonly pid: number;
  stdout(): string;
  stderr(): string;
  /** The first match in what it says on stderr; rejects when it ends before or the time is up. */
  says(pattern: RegExp, withinMs?: number): Promise<RegExpExecArray>;
  /** The first JSON document on stdout. */
  document(withinMs?: number): Promise<unknown>;
  signal(signal: NodeJS.Signals): void;
  readonly ended: Promise<Ended>;
}

/** Start the real entry with nothing of this process's environment but PATH. */
export function startBallast(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  stdin = "",
): BallastProcess {
  const child = spawn(process.execPath, [ENTRY, ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const said = { stdout: "", stderr: "" };
  const listeners = new Set<() => void>();
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      said[name] += text;
      for (const listener of listeners) listener();
    });
  }
  // A command that fails early closes its stdin under us.
  child.stdin.on("error", () => undefined);
  child.stdin.end(stdin);
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      resolve({ code, ...said });
      for (const listener of listeners) listener();
    });
  });

  const complaint = (how: string, what: string): Error =>
    new Error(`ballast ${args.join(" ")} ${how} ${what}:\n${said.stdout}\n${said.stderr}`);
  const find = <Found>(
    look: () => Found | undefined,
    what: string,
    withinMs: number,
  ): Promise<Found> =>
    new Promise((resolve, reject) => {
      const finish = (end: () => void): void => {
        clearTimeout(timer);
        listeners.delete(check);
        end();
      };
      const check = (): void => {
        const found = look();
        if (found !== undefined) finish(() => resolve(found));
        else if (child.exitCode !== null) finish(() => reject(complaint("ended without", what)));
      };
      const timer = setTimeout(
        () => finish(() => reject(complaint("did not come to", what))),
        withinMs,
      );
      listeners.add(check);
      check();
    });

  return {
    pid: requirePid(child),
    stdout: () => said.stdout,
    stderr: () => said.stderr,
    says: (pattern, withinMs = 120_000) =>
      find(() => pattern.exec(said.stderr) ?? undefined, String(pattern), withinMs),
    document: (withinMs = 120_000) =>
      find(() => firstDocument(said.stdout), "a JSON document", withinMs),
    signal: (signal) => {
      child.kill(signal);
    },
    ended,
  };
}

/** Run a command to its end. */
export function runBallast(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  stdin = "",
): Promise<Ended> {
  return startBallast(args, env, stdin).ended;
}

/** What a command prints with `--json`, by a schema. */
export function parseOutput<Schema extends z.ZodType>(
  ended: Ended,
  schema: Schema,
): z.output<Schema> {
  return z.parse(schema, JSON.parse(ended.stdout));
}

function firstDocument(stdout: string): unknown {
  const [line, rest] = stdout.split("\n", 2);
  return line === undefined || rest === undefined ? undefined : JSON.parse(line);
}

function requirePid(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error("The process could not be started");
  return child.pid;
}
