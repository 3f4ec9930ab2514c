import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

const figuresSchema = z.object({
  imported: z.number(),
  refused: z.number(),
  resumed: z.number(),
  erasedRows: z.number(),
  leftovers: z.number(),
  revoked: z.number(),
});

test(
  "import-remove: an import that was cut off goes on, and of a tenant that goes nothing is left",
  { timeout: 600_000 },
  async () => {
    const { figures, talk, exitCode } = await runScenario("import-remove", figuresSchema);
    expect(talk).not.toContain("missed:");
    expect(figures).toMatchObject({
      imported: 200,
      refused: 5,
      resumed: 100,
      leftovers: 0,
      revoked: 50,
    });
    expect(exitCode).toBe(0);
  },
);
