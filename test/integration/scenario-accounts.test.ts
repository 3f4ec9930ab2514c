import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";

const RUN = new URL("../scenarios/run.ts", import.meta.url).pathname;

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
  { timeout: 300_000 },
  async () => {
    const child = spawn(process.execPath, [RUN, "accounts", "--short", "--seed", "7"], {
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
    const last = output.trimEnd().split("\n").at(-1) ?? "{}";
    expect(talk).not.toContain("missed:");
    expect(figuresSchema.parse(JSON.parse(last))).toMatchObject({
      accounts: 24,
      revoked: 4,
      wave: 9,
      disconnectedWrongly: 0,
      canariesFound: 0,
    });
    expect(child.exitCode).toBe(0);
  },
);
