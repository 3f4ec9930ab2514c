import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";

/** The first of `names` that can be executed in a directory of `searchPath` (the form of PATH), or undefined. */
export async function findProgram(
  names: readonly string[],
  searchPath: string,
): Promise<string | undefined> {
  const directories = searchPath.split(delimiter).filter((directory) => isAbsolute(directory));
  for (const name of names) {
    for (const directory of directories) {
      const candidate = join(directory, name);
      if (await isExecutable(candidate)) return candidate;
    }
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
