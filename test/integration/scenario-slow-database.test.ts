import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

const figuresSchema = z.object({
  requestsWhileDown: z.number(),
  pagesFetchedTwice: z.number(),
  lost: z.number(),
  exits: z.number(),
  recoverySeconds: z.number(),
  inFlightAtStop: z.number(),
  requestsInTheCalm: z.number(),
  pagesKept: z.number(),
  calendars: z.number(),
});

test(
  "slow-database: I10 and I13 while Postgres is slow, then gone, then back",
  { timeout: 600_000 },
  async () => {
    let isProof = false;
    // What must hold holds in every run; one whose database stopped while no page was on its way proves only that.
    for (let attempt = 0; attempt < 3 && !isProof; attempt += 1) {
      const { figures, talk, exitCode } = await runScenario("slow-database", figuresSchema);
      expect(figures).toMatchObject({ pagesFetchedTwice: 0, lost: 0, exits: 0 });
      expect(figures.requestsWhileDown).toBeLessThanOrEqual(figures.inFlightAtStop);
      expect(figures.requestsInTheCalm).toBeGreaterThan(0);
      expect(talk).not.toContain("missed:");
      expect(exitCode).toBe(0);
      isProof = figures.pagesKept > 0;
    }
    expect(isProof).toBe(true);
  },
);
