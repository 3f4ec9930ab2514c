import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

const figuresSchema = z.object({
  sent: z.number(),
  served: z.number(),
  limited: z.number(),
  errors: z.number(),
  queriesPerCalendarGeneration: z.number(),
});

test(
  "read-surge: twelve thousand reads are at most one query for each calendar, window and generation",
  { timeout: 600_000 },
  async () => {
    const { figures, talk, exitCode } = await runScenario("read-surge", figuresSchema);
    expect(talk).not.toContain("missed:");
    expect(figures).toMatchObject({ sent: 12_000, errors: 0 });
    expect(figures.served + figures.limited).toBe(12_000);
    expect(figures.queriesPerCalendarGeneration).toBe(1);
    expect(exitCode).toBe(0);
  },
);
