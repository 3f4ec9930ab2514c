import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

const figuresSchema = z.object({
  calendars: z.number(),
  claimed: z.number(),
  tickMsSmall: z.number(),
  tickMsBig: z.number(),
  redisBytes: z.number(),
  redisBytesQueued: z.number(),
  served: z.number(),
  servedByAge: z.number(),
});

test(
  "planner: a claim is shared among a hundred tenants, whatever one of them has overdue, and idle calendars are not in Redis",
  { timeout: 600_000 },
  async () => {
    const { figures, talk, exitCode } = await runScenario("planner", figuresSchema);
    expect(figures).toMatchObject({
      calendars: 20_000,
      claimed: 500,
      redisBytes: 0,
      served: 99,
      // By age alone, the one with the backlog would have taken all.
      servedByAge: 0,
    });
    // What is queued is seen in Redis.
    expect(figures.redisBytesQueued).toBeGreaterThan(500);
    expect(talk).not.toContain("missed:");
    expect(exitCode).toBe(0);
  },
);
