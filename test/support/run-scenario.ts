import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { onTestFinished } from "vitest";
import type { z } from "zod";

const RUN = new URL("../scenarios/run.ts", import.meta.url).pathname;

/** What a scenario printed last, what it said meanwhile, and how it ended. */
export interface ScenarioRun<Figures> {
  readonly figures: Figures;
  readonly talk: string;
  readonly exitCode: number | null;
}

/** Run a scenario's short form in a process of its own, as its command does; it dies with the test. */
export async function runScenario<Figures>(
  name: string,
  schema: z.ZodType<Figures>,
): Promise<ScenarioRun<Figures>> {
  const child = spawn(process.execPath, [RUN, name, "--short", "--seed", "7"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const [output, talk] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  const last = output.trimEnd().split("\n").at(-1) ?? "{}";
  return { figures: schema.parse(JSON.parse(last)), talk, exitCode: child.exitCode };
}
