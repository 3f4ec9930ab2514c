import { readFileSync, readdirSync } from "node:fs";
import { builtinModules } from "node:module";
import { expect, test } from "vitest";

test("the simulator shares no code with what it judges: not the ledger, not the reader's recurrence library", () => {
  const directory = new URL("../../src/simulator/", import.meta.url);
  const imported = new Set<string>();
  for (const name of readdirSync(directory).filter((file) => file.endsWith(".ts"))) {
    const text = readFileSync(new URL(name, directory), "utf8");
    for (const [, from = ""] of text.matchAll(/(?:from|import\() ?"([^"]+)"/g)) imported.add(from);
  }
  const foreign = [...imported].filter(
    (from) => !from.startsWith("./") && !builtinModules.includes(from.replace("node:", "")),
  );
  expect(foreign.toSorted()).toEqual([
    "../core/clock.ts",
    "@googleapis/calendar",
    "ical.js",
    "zod",
  ]);
});
