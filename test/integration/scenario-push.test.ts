import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";

const RUN = new URL("../scenarios/run.ts", import.meta.url).pathname;

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
  { timeout: 300_000 },
  async () => {
    const child = spawn(process.execPath, [RUN, "push", "--short", "--seed", "7"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    onTestFinished(() => {
      child.kill("SIGKILL");
    });
    const [output, talk] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close"),
    ]);
    const figures = figuresSchema.parse(JSON.parse(output.trimEnd().split("\n").at(-1) ?? "{}"));
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
    expect(child.exitCode).toBe(0);
  },
);
