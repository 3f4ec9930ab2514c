import { readFile } from "node:fs/promises";
import { runCommand } from "./run-command.ts";

/**
 * A process named so that a later process with the same number is not taken for it.
 * `startedAt` is opaque: the kernel's start time, comparable on one machine and boot only.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startedAt: string;
}

/** Who runs under this number now, or undefined if nobody does. */
export async function identifyProcess(pid: number): Promise<ProcessIdentity | undefined> {
  if (!isAlive(pid)) return undefined;
  const startedAt = process.platform === "linux" ? await startOnLinux(pid) : await startByPs(pid);
  return startedAt === undefined ? undefined : { pid, startedAt };
}

/** True while exactly this process lives, as opposed to another that got its number. */
export async function isStillRunning(identity: ProcessIdentity): Promise<boolean> {
  const now = await identifyProcess(identity.pid);
  return now?.startedAt === identity.startedAt;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, under another user.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

async function startOnLinux(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${String(pid)}/stat`, "utf8");
    // The second field, the program's name, may itself hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state] = fields;
    // A zombie has ended; only its parent has not asked yet.
    if (state === "Z" || state === "X") return undefined;
    const bootId = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
    return `${bootId.trim()}/${fields[19] ?? ""}`;
  } catch {
    return undefined;
  }
}

async function startByPs(pid: number): Promise<string | undefined> {
  try {
    const started = await runCommand("ps", ["-o", "lstart=", "-p", String(pid)], {
      timeoutMs: 5_000,
    });
    return started.trim() === "" ? undefined : started.trim();
  } catch {
    return undefined;
  }
}
