import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";

const RUN = new URL("../scenarios/run.ts", import.meta.url).pathname;

const figuresSchema = z.object({
  cases: z.number(),
  setAside: z.number(),
  othersDelayed: z.number(),
  generationMax: z.number(),
  skippedByOffset: z.number(),
  skippedByKeyset: z.number(),
  watches: z.number(),
  watchesAgain: z.number(),
});

test(
  "poison: I8 with everything that took a peer down, at once",
  { timeout: 400_000 },
  async () => {
    const child = spawn(process.execPath, [RUN, "poison", "--short", "--seed", "7"], {
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
    expect(talk).not.toContain("missed:");
    const figures = figuresSchema.parse(JSON.parse(output.trimEnd().split("\n").at(-1) ?? "{}"));
    expect(figures).toMatchObject({ othersDelayed: 0, skippedByKeyset: 0, watchesAgain: 0 });
    expect(figures.setAside).toBeGreaterThan(figures.cases);
    // It happened: an offset would have skipped rows, tokens died, and there were watches to make again.
    expect(figures.skippedByOffset).toBeGreaterThan(0);
    expect(figures.generationMax).toBeGreaterThanOrEqual(4);
    expect(figures.watches).toBeGreaterThan(0);
    expect(child.exitCode).toBe(0);
  },
);
