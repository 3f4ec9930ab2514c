import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

const figuresSchema = z.object({
  waiting: z.number(),
  asked: z.number(),
  jumped: z.number(),
  passedBy: z.number(),
  behindBy: z.number(),
});

test(
  "lanes: beside two thousand that wait a quiet tenant is next, and a person overtakes a job that waits",
  { timeout: 600_000 },
  async () => {
    const { figures, talk, exitCode } = await runScenario("lanes", figuresSchema);
    expect(talk).not.toContain("missed:");
    expect(figures.waiting).toBeGreaterThanOrEqual(2_000);
    expect(figures.jumped).toBe(figures.asked);
    expect(figures.asked).toBeGreaterThan(0);
    expect(figures.passedBy).toBeLessThan(figures.behindBy);
    expect(exitCode).toBe(0);
  },
);
