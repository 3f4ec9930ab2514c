/**
 * One process per data directory: a second `start` says so and stops.
 *
 * States of the lock file: absent; held (its process lives); stale (its process is gone: taken over).
 * The file names its holder by pid *and* start time, since after a reboot the pid may be somebody else's.
 */
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { copyFile, link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { makeDirectory } from "./make-directory.ts";
import { identifyProcess, isStillRunning, type ProcessIdentity } from "./process-identity.ts";

const holderSchema = z.object({ pid: z.number().int().positive(), startedAt: z.string() });

/** Held until released; let go by the exit hook when the process ends first. */
export interface InstanceLock {
  release(): Promise<void>;
}

/** Another living process uses the data directory. */
export class AlreadyRunning extends Error {
  override readonly name = "AlreadyRunning";
  readonly holderPid: number;

  constructor(directory: string, holderPid: number) {
    super(
      `Ballast already runs on ${directory} (process ${String(holderPid)}). ` +
        `Stop it first, or give this one a directory of its own: BALLAST_DATA_DIR=PATH`,
    );
    this.holderPid = holderPid;
  }
}

/** Take the directory for this process, or reject with {@link AlreadyRunning}. Creates the directory. */
export async function acquireInstanceLock(directory: string): Promise<InstanceLock> {
  await makeDirectory(directory);
  const file = join(directory, "instance.lock");
  const self = await identifyProcess(process.pid);
  if (self === undefined) throw new Error("This process cannot be identified: no /proc and no ps");

  // Written aside and linked into place: `link` fails where a file exists, and nobody reads half a lock.
  const mine = `${file}.${String(process.pid)}`;
  await writeFile(mine, JSON.stringify(self));
  try {
    await linkOrTakeOver({ directory, file, mine });
  } finally {
    await rm(mine, { force: true });
  }

  const letGo = (): void => {
    rmSync(file, { force: true });
  };
  process.once("exit", letGo);
  return {
    release: async () => {
      process.off("exit", letGo);
      await rm(file, { force: true });
    },
  };
}

interface Contender {
  readonly directory: string;
  readonly file: string;
  /** A file that names this process. */
  readonly mine: string;
}

async function linkOrTakeOver(lock: Contender): Promise<void> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    if (await linked(lock.mine, lock.file)) return;
    const content = await readOrUndefined(lock.file);
    if (content === undefined) continue;
    await refuseWhileHeld(lock, content);
    if (await takeOver(lock, content)) return;
  }
  throw new Error(`${lock.file} changes hands too often; try again`);
}

/**
 * Replace the lock of a process that is gone. Who may is decided by a second lock, named after what is to be
 * replaced: one contender links it, looks whether the lock is still what it judged, and only then renames its
 * own over it. A contender that died at that leaves a second lock that is stale itself, and is followed in the
 * same way. False: the lock has changed meanwhile.
 */
async function takeOver(lock: Contender, judged: string): Promise<boolean> {
  const right = `${lock.file}.after-${createHash("sha256").update(judged).digest("hex").slice(0, 16)}`;
  if (!(await linked(lock.mine, right))) {
    const rival = await readOrUndefined(right);
    if (rival === undefined) return false;
    await refuseWhileHeld(lock, rival);
    const isTaken = await takeOver(lock, rival);
    if (isTaken) await rm(right, { force: true });
    return isTaken;
  }
  try {
    const current = await readOrUndefined(lock.file);
    if (current === undefined || (await isHeld(current))) return false;
    const replacement = `${lock.mine}.new`;
    await copyFile(lock.mine, replacement);
    await rename(replacement, lock.file);
    return true;
  } finally {
    await rm(right, { force: true });
  }
}

async function refuseWhileHeld(lock: Contender, content: string): Promise<void> {
  const holder = parseHolder(content);
  if (holder !== undefined && (await isStillRunning(holder))) {
    throw new AlreadyRunning(lock.directory, holder.pid);
  }
}

async function isHeld(content: string): Promise<boolean> {
  const holder = parseHolder(content);
  return holder !== undefined && (await isStillRunning(holder));
}

/** False: there is a file of that name already. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

function parseHolder(content: string): ProcessIdentity | undefined {
  try {
    const parsed: unknown = JSON.parse(content);
    return holderSchema.safeParse(parsed).data;
  } catch {
    return undefined;
  }
}

async function readOrUndefined(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
