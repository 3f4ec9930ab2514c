import { expect, test } from "vitest";
import { z } from "zod";
import { runScenario } from "../support/run-scenario.ts";

const figuresSchema = z.object({
  notified: z.number(),
  dropped: z.number(),
  lost: z.number(),
  killed: z.number(),
  killedAndKept: z.number(),
  silentReplaced: z.number(),
  duplicateChannels: z.number(),
  watchesAtRestart: z.number(),
  unwatchable: z.number(),
});

test(
  "push: nothing is lost, and every channel that died silently is replaced",
  { timeout: 600_000 },
  async () => {
    const { figures, talk, exitCode } = await runScenario("push", figuresSchema);
    expect(figures).toMatchObject({
      lost: 0,
      killedAndKept: 0,
      duplicateChannels: 0,
      watchesAtRestart: 0,
    });
    expect(figures.silentReplaced).toBeGreaterThanOrEqual(figures.killed);
    // It happened: some were told, some got lost, some died, and some cannot be watched at all.
    const { notified, dropped, killed, unwatchable } = figures;
    expect([notified, dropped, killed, unwatchable].filter((count) => count === 0)).toEqual([]);
    expect(talk).not.toContain("missed:");
    expect(exitCode).toBe(0);
  },
);
