import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeDirectory } from "../../src/embedded/make-directory.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

test("makes a directory and those above it, and is content with one that is there", async () => {
  const path = join(await temporaryDirectory(), "a", "b", "c");
  await makeDirectory(path);
  await makeDirectory(path);
  expect((await stat(path)).isDirectory()).toBe(true);
});

test("a file in its place is an error", async () => {
  const path = join(await temporaryDirectory(), "file");
  await writeFile(path, "");
  await expect(makeDirectory(path)).rejects.toThrow(/EEXIST/);
});

test("where nothing can ever be made it says so instead of trying for ever", async () => {
  await expect(makeDirectory("/proc/nope/ballast")).rejects.toThrow(/ENOENT|EACCES|EPERM/);
});
