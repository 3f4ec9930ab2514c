import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";

const RUN = new URL("../scenarios/run.ts", import.meta.url).pathname;

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
  { timeout: 300_000 },
  async () => {
    const child = spawn(process.execPath, [RUN, "surge", "--short", "--seed", "7"], {
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
    expect(figures).toMatchObject({ sent: 20_000, errors: 0, lost: 0 });
    expect(figures.accepted + figures.shed).toBe(20_000);
    expect(figures.googleCallsPerCalendarWindow).toBeLessThanOrEqual(2);
    expect(figures.coalesced).toBeGreaterThan(10_000);
    expect(talk).not.toContain("missed:");
    expect(child.exitCode).toBe(0);
  },
);
