import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

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
  { timeout: 600_000 },
  async () => {
    const { figures, talk, exitCode } = await runScenario("poison", figuresSchema);
    expect(talk).not.toContain("missed:");
    expect(figures).toMatchObject({ othersDelayed: 0, skippedByKeyset: 0, watchesAgain: 0 });
    expect(figures.setAside).toBeGreaterThan(figures.cases);
    // It happened: an offset would have skipped rows, tokens died, and there were watches to make again.
    expect(figures.skippedByOffset).toBeGreaterThan(0);
    expect(figures.generationMax).toBeGreaterThanOrEqual(4);
    expect(figures.watches).toBeGreaterThan(0);
    expect(exitCode).toBe(0);
  },
);
