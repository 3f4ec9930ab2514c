import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Make a directory and those above it; one that is there is fine. Node's own recursive mkdir never
 * returns where a file system answers ENOENT for good (`/proc/nope` on Linux, seen with Node 24.21).
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (hasCode(error, "EEXIST") && (await stat(path)).isDirectory()) return;
    const above = dirname(path);
    if (!hasCode(error, "ENOENT") || above === path || (await exists(above))) throw error;
    await makeDirectory(above);
    await mkdir(path);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
