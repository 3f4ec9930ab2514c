import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";

const packageEntry = z.object({
  version: z.string().optional(),
  resolved: z.string().optional(),
  optionalDependencies: z.record(z.string(), z.string()).default({}),
});
const lockfile = z.object({ packages: z.record(z.string(), packageEntry) });

async function readLockfile(): Promise<z.output<typeof lockfile>> {
  const file = join(import.meta.dirname, "..", "..", "package-lock.json");
  return lockfile.parse(JSON.parse(await readFile(file, "utf8")));
}

// A package index that lacks some platform's package makes npm leave it out of the lock file, and `npm ci`
// then refuses the file on every platform. An entry with its version, os and cpu is enough.
test("the lock file names the packages of every platform, so that npm ci accepts it", async () => {
  const { packages } = await readLockfile();
  const missing = Object.entries(packages).flatMap(([path, entry]) =>
    Object.keys(entry.optionalDependencies).filter(
      (name) =>
        packages[`node_modules/${name}`]?.version === undefined &&
        packages[`${path}/node_modules/${name}`]?.version === undefined,
    ),
  );
  expect(missing).toEqual([]);
});

test("the lock file names no host to download from", async () => {
  const { packages } = await readLockfile();
  expect(Object.values(packages).filter(({ resolved }) => resolved !== undefined)).toEqual([]);
});
