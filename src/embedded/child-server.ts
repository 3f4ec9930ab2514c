/**
 * A server program as our child: started detached, ended with us.
 *
 * States: running → ended, once. Detached, because Ctrl-C on a terminal signals the whole process group and
 * draining still needs the server. It ends with its parent all the same: by the exit hook when the parent
 * exits, and on Linux by the kernel (setpriv --pdeathsig) when the parent is killed without warning.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Clock } from "../core/clock.ts";
import { findProgram } from "./find-program.ts";

/** A running server; whoever starts it stops it. */
export interface ChildServer {
  readonly pid: number;
  /** How it ended, or undefined while it runs. */
  ending(): string | undefined;
  /** Tell `listener` once when it ends, for whatever reason. Does not keep this process alive. */
  onEnd(listener: () => void): void;
  /** Send a signal; says nothing about whether it has arrived. */
  signal(signal: NodeJS.Signals): void;
  /** Resolves when it has ended; rejects with the signal's reason on abort. */
  ended(signal: AbortSignal): Promise<void>;
  /** Ask it to end, and end it by force when it has not within `graceMs`. */
  stop(options: { readonly signal: NodeJS.Signals; readonly graceMs: number }): Promise<void>;
  /** The end of what it wrote, for an error message. */
  lastWords(): Promise<string>;
}

/** Which program, where its output goes, and how it is told that its parent is gone. */
export interface ChildServerOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  readonly user?: { readonly uid: number; readonly gid: number };
  /** What the kernel sends when the parent is gone, and what the exit hook sends. */
  readonly farewell: "SIGTERM" | "SIGINT";
}

/** Start a program detached, its output in `logFile`. Rejects when it cannot be started at all. */
export async function startChildServer(
  options: ChildServerOptions,
  deps: { readonly clock: Clock },
): Promise<ChildServer> {
  const { child, pid } = await spawnDetached(options);
  let ending: string | undefined;
  const farewell = (): void => {
    child.kill(options.farewell);
  };
  process.once("exit", farewell);
  const exited = new Promise<void>((resolve) => {
    child.once("exit", (code, signal) => {
      ending = signal === null ? `exit code ${String(code)}` : `signal ${signal}`;
      process.off("exit", farewell);
      resolve();
    });
  });
  // A forgotten server must not keep its parent alive; the exit hook ends it.
  child.unref();

  return {
    pid,
    ending: () => ending,
    onEnd: (listener) => {
      child.once("exit", listener);
    },
    signal: (signal) => {
      child.kill(signal);
    },
    ended: async (signal) => {
      if (ending !== undefined) return;
      signal.throwIfAborted();
      child.ref();
      await Promise.race([exited, rejectOnAbort(signal)]);
    },
    stop: async ({ signal, graceMs }) => {
      if (ending !== undefined) return;
      child.ref();
      const patience = new AbortController();
      child.kill(signal);
      // A stopped process does not see the request to end before it runs again.
      child.kill("SIGCONT");
      const timedOut = deps.clock.sleep(graceMs, patience.signal).then(
        () => child.kill("SIGKILL"),
        () => false,
      );
      await exited;
      patience.abort();
      await timedOut;
    },
    lastWords: () => readTail(options.logFile),
  };
}

async function spawnDetached(
  options: ChildServerOptions,
): Promise<{ readonly child: ChildProcess; readonly pid: number }> {
  const { command, args } = await tieToParent(options);
  const log = openSync(options.logFile, "a");
  const child = spawn(command, [...args], {
    detached: true,
    stdio: ["ignore", log, log],
    env: options.env,
    cwd: "/",
    ...options.user,
  });
  closeSync(log);
  const { pid } = child;
  if (pid !== undefined) return { child, pid };
  const error = await new Promise<Error>((resolve) => {
    child.once("error", resolve);
  });
  throw new Error(`${command} could not be started: ${error.message}`, { cause: error });
}

async function tieToParent(options: {
  readonly command: string;
  readonly args: readonly string[];
  readonly farewell: string;
}): Promise<{ command: string; args: readonly string[] }> {
  const { command, args, farewell } = options;
  if (process.platform !== "linux") return { command, args };
  const setpriv = await findProgram(["setpriv"], "/usr/bin:/bin");
  if (setpriv === undefined) return { command, args };
  return {
    command: setpriv,
    args: ["--pdeathsig", farewell.replace("SIG", ""), command, ...args],
  };
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener(
      "abort",
      () => {
        reject(
          signal.reason instanceof Error
            ? signal.reason
            : new Error("Aborted", { cause: signal.reason }),
        );
      },
      { once: true },
    );
  });
}

async function readTail(file: string): Promise<string> {
  try {
    const content = await readFile(file, "utf8");
    return content.trim().split("\n").slice(-8).join("\n");
  } catch {
    return "";
  }
}
