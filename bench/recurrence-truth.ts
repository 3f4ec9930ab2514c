/**
 * Holds the reader's recurrences against the simulator's, which another library (ical.js) expands: generated series with
 * exceptions, across clock changes in ten zones. Any difference is printed and fails. `--cases N`, `--seed N`, `--json FILE`.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { compareCases, generateCase } from "../test/support/recurrence-truth.ts";

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    json: { type: "string" },
  },
});

const seed = Number(values.seed);
const cases = Array.from({ length: Number(values.cases) }, (_, n) => generateCase(seed + n));
const { differences, ...sums } = await compareCases(cases);
for (const one of differences) {
  console.log(`${one.case.name} from ${one.case.fromMs} to ${one.case.toMs}`);
  console.log(`  reader     ${one.reader.join("\n             ")}`);
  console.log(`  simulator  ${one.simulator.join("\n             ")}`);
}
const result = { bench: "recurrence-truth", seed, ...sums, differences: differences.length };
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result)}\n`);
console.log(JSON.stringify(result));
if (differences.length > 0) process.exitCode = 1;
