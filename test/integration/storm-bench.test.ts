import { expect, test } from "vitest";
import { runCommand } from "../../src/embedded/run-command.ts";

test("the replay of the incident, short: Ballast oversteps no quota, today's stack storms (I3)", async () => {
  const script = new URL("../../bench/storm.ts", import.meta.url).pathname;
  // Rejects when the command says that something was missed.
  const table = await runCommand(process.execPath, [script, "--short"], { timeoutMs: 580_000 });
  expect(table).toMatch(/^quota refused +\d+ +0$/m);
}, 600_000);
