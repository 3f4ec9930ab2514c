import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../support/temporary-directory.ts";

test("the bench of busy times, short: every answer is known, and a known generation is read once", async () => {
  const json = join(await temporaryDirectory(), "figures.json");
  const bench = spawn(process.execPath, ["bench/busy.ts", "--short", "--json", json], {
    stdio: "ignore",
  });
  expect(await once(bench, "exit")).toEqual([0, null]);
  const figures = JSON.parse(readFileSync(json, "utf8")) as Record<string, unknown>;
  expect(figures).toMatchObject({ bench: "busy", databaseReads: 1, isMet: true });
  expect(figures["busyTimes"]).toBeGreaterThan(1_000);
  expect(figures["liveP50Ms"]).toBeGreaterThan(45);
}, 180_000);
