import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

const figuresSchema = z.object({
  accounts: z.number(),
  revoked: z.number(),
  wave: z.number(),
  disconnectedWrongly: z.number(),
  canariesFound: z.number(),
  placesSearched: z.number(),
});

test(
  "accounts: I12: who has to reconnect is disconnected once, nobody else is, and no secret is anywhere",
  { timeout: 600_000 },
  async () => {
    const { figures, talk, exitCode } = await runScenario("accounts", figuresSchema);
    expect(talk).not.toContain("missed:");
    expect(figures).toMatchObject({
      accounts: 24,
      revoked: 4,
      wave: 9,
      disconnectedWrongly: 0,
      canariesFound: 0,
    });
    expect(exitCode).toBe(0);
  },
);
