import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { runCommand } from "../../../src/embedded/run-command.ts";

/** What a worker is told when it starts. */
export interface WorkerOrders {
  readonly environment: Readonly<Record<string, string>>;
  readonly redis: string;
}

export interface Worker {
  /** Stand still at once, wherever it is; resolves when it does. */
  freeze(): Promise<void>;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
}

/** Worker processes, one after the other; the next one is loading while the present one works. */
export interface WorkerLine {
  next(): Promise<Worker>;
  close(): Promise<void>;
}

/** Nothing starts before the first `next`. */
export function createWorkerLine(
  orders: WorkerOrders,
  options: { readonly compileCache: string },
): WorkerLine {
  let spare: Promise<ChildProcess> | undefined;
  const load = async (): Promise<ChildProcess> => {
    const child = fork(new URL("worker.ts", import.meta.url).pathname, {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      env: { PATH: process.env["PATH"], NODE_COMPILE_CACHE: options.compileCache },
    });
    await once(child, "message");
    return child;
  };
  return {
    async next() {
      const child = await (spare ?? load());
      child.send(orders);
      spare = load();
      return {
        async freeze() {
          child.kill("SIGSTOP");
          while (!(await isStopped(child.pid ?? 0)));
        },
        kill: () => kill(child),
      };
    },
    async close() {
      const child = await spare;
      if (child !== undefined) await kill(child);
    },
  };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) {
    throw new Error(`A worker ended by itself with code ${String(child.exitCode)}`);
  }
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

async function isStopped(pid: number): Promise<boolean> {
  if (process.platform !== "linux") {
    return (await runCommand("ps", ["-o", "state=", "-p", String(pid)], { timeoutMs: 5_000 }))
      .trim()
      .startsWith("T");
  }
  const stat = await readFile(`/proc/${String(pid)}/stat`, "utf8");
  // The name before the state may itself hold parentheses.
  return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T");
}
