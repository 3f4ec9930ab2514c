import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { acquireInstanceLock, AlreadyRunning } from "../../src/embedded/instance-lock.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const moduleUrl = new URL("../../src/embedded/instance-lock.ts", import.meta.url).href;

/** Processes that all try to take the lock; each says `held` or the name of its error. */
async function contend(directory: string, count: number): Promise<string[]> {
  const source = `
    import { acquireInstanceLock } from ${JSON.stringify(moduleUrl)};
    try {
      await acquireInstanceLock(${JSON.stringify(directory)});
      console.log("held");
    } catch (error) {
      console.log(error.name);
    }
    setInterval(() => {}, 1000);
  `;
  return Promise.all(
    Array.from({ length: count }, async () => {
      const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      onTestFinished(() => {
        child.kill("SIGKILL");
      });
      const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
      return line;
    }),
  );
}

test("a second process on the same directory is told who holds it", async () => {
  const directory = join(await temporaryDirectory(), "data");
  const lock = await acquireInstanceLock(directory);
  onTestFinished(() => lock.release());

  expect(await contend(directory, 1)).toEqual(["AlreadyRunning"]);
  await expect(acquireInstanceLock(directory)).rejects.toThrow(
    new RegExp(`process ${String(process.pid)}.*BALLAST_DATA_DIR`),
  );
  await expect(acquireInstanceLock(directory)).rejects.toThrow(AlreadyRunning);
});

test("a released directory can be taken again, and nothing is left behind", async () => {
  const directory = await temporaryDirectory();
  const first = await acquireInstanceLock(directory);
  await first.release();
  const second = await acquireInstanceLock(directory);
  await second.release();
  expect(await readdir(directory)).toEqual([]);
});

test.each([
  ["a process that is gone", JSON.stringify({ pid: 2 ** 22 + 1, startedAt: "then" })],
  ["a number that now belongs to another", JSON.stringify({ pid: process.pid, startedAt: "then" })],
  ["nothing that can be read", "{"],
])("a lock held by %s is taken over by exactly one", async (_, content) => {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "instance.lock"), content);

  const outcomes = await contend(directory, 4);

  expect(outcomes.toSorted()).toEqual([
    "AlreadyRunning",
    "AlreadyRunning",
    "AlreadyRunning",
    "held",
  ]);
});
