/**
 * One process per data directory: a second `start` says so and stops.
 *
 * States of the lock file: absent; held (its process lives); stale (its process is gone: taken over).
 * The file names its holder by pid *and* start time, since after a reboot the pid may be somebody else's.
 */
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { rmSync } from "node:fs";
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
    await linkOrTakeOver({ directory, file, mine, self });
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

async function linkOrTakeOver(lock: {
  readonly directory: string;
  readonly file: string;
  readonly mine: string;
  readonly self: ProcessIdentity;
}): Promise<void> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    try {
      await link(lock.mine, lock.file);
      return;
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
    }
    const content = await readOrUndefined(lock.file);
    if (content === undefined) continue;
    const holder = parseHolder(content);
    if (holder !== undefined && (await isStillRunning(holder))) {
      throw new AlreadyRunning(lock.directory, holder.pid);
    }
    await buryStale(lock, content);
  }
  throw new Error(`${lock.file} changes hands too often; try again`);
}

/**
 * Move a stale lock out of the way. Two that find it stale both get here: the second one's rename may catch
 * the first one's fresh lock, so what was moved is compared with what was judged, and put back if it differs.
 */
async function buryStale(
  lock: { readonly file: string; readonly self: ProcessIdentity },
  judged: string,
): Promise<void> {
  const grave = `${lock.file}.stale-${String(lock.self.pid)}`;
  try {
    await rename(lock.file, grave);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return;
    throw error;
  }
  try {
    if ((await readOrUndefined(grave)) !== judged) await link(grave, lock.file);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  } finally {
    await rm(grave, { force: true });
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
