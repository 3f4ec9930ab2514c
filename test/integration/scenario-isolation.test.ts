import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

const figuresSchema = z.object({
  routes: z.number(),
  tried: z.number(),
  leaks: z.number(),
  controlLeaks: z.number(),
  failures: z.number(),
});

test(
  "isolation: no route tells a tenant's token anything of another tenant's, and none breaks on nonsense",
  { timeout: 600_000 },
  async () => {
    const { figures, talk, exitCode } = await runScenario("isolation", figuresSchema);
    expect(talk).not.toContain("missed:");
    expect(figures).toMatchObject({ leaks: 0, failures: 0 });
    expect(figures.controlLeaks).toBeGreaterThan(0);
    expect(exitCode).toBe(0);
  },
);
