import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../support/temporary-directory.ts";

test("the simulator's benchmark runs in its short form: every request sent arrived, none was rejected", async () => {
  const json = join(await temporaryDirectory(), "figures.json");
  // The bench compares what it sent with what arrived, and fails itself when they differ.
  const bench = spawn(process.execPath, ["bench/simulator.ts", "--short", "--json", json], {
    stdio: "ignore",
  });
  const [exitCode] = (await once(bench, "exit")) as [number];
  expect(exitCode).toBe(0);
  const result = JSON.parse(readFileSync(json, "utf8")) as {
    isMet: boolean;
    figures: { workload: string; requests: number }[];
  };
  expect(result.isMet).toBe(true);
  expect(result.figures).toHaveLength(3);
  for (const figure of result.figures) expect(figure.requests).toBeGreaterThan(50);
}, 180_000);
