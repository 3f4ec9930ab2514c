import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

const figuresSchema = z.object({
  sent: z.number(),
  accepted: z.number(),
  coalesced: z.number(),
  shed: z.number(),
  errors: z.number(),
  lost: z.number(),
  googleCallsPerCalendarWindow: z.number(),
});

test(
  "surge: I6: twenty thousand notifications and requests are few refreshes, and none is lost",
  { timeout: 600_000 },
  async () => {
    const { figures, talk, exitCode } = await runScenario("surge", figuresSchema);
    expect(figures).toMatchObject({ sent: 20_000, errors: 0, lost: 0 });
    expect(figures.accepted + figures.shed).toBe(20_000);
    expect(figures.googleCallsPerCalendarWindow).toBeLessThanOrEqual(2);
    expect(figures.coalesced).toBeGreaterThan(10_000);
    expect(talk).not.toContain("missed:");
    expect(exitCode).toBe(0);
  },
);
