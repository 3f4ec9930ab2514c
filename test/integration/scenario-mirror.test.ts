import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { createSimulator } from "../../src/simulator/simulator.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const RUN = new URL("../scenarios/run.ts", import.meta.url).pathname;

const figuresSchema = z.object({
  calendars: z.number(),
  events: z.number(),
  changes: z.number(),
  fullResyncs: z.number(),
  reads: z.number(),
  differences: z.number(),
  emptyReads: z.number(),
  partialReads: z.number(),
  requests: z.number(),
  seconds: z.number(),
});

/** Run the scenario as a user would; the figures are its last line. */
async function runMirror(
  flags: readonly string[],
): Promise<{ readonly figures: z.output<typeof figuresSchema>; readonly talk: string }> {
  const child = spawn(process.execPath, [RUN, "mirror", "--short", ...flags], {
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
  const last = output.trimEnd().split("\n").at(-1) ?? "";
  if (child.exitCode !== 0) throw new Error(`The scenario failed:\n${talk}\n${output}`);
  return { figures: figuresSchema.parse(JSON.parse(last)), talk };
}

test(
  "mirror: I4, I5 and I6 while 600 changes, dying tokens and readers meet",
  { timeout: 600_000 },
  async () => {
    const { figures } = await runMirror(["--seed", "7"]);
    expect(figures).toMatchObject({ differences: 0, emptyReads: 0, partialReads: 0 });
    expect(figures.calendars).toBeGreaterThanOrEqual(50);
    expect(figures.fullResyncs).toBeGreaterThanOrEqual(10);
  },
);

test(
  "mirror: the same against a server given by its addresses and refresh tokens alone",
  { timeout: 600_000 },
  async () => {
    const server = await createSimulator({
      seed: 21,
      generate: { accounts: 6, calendars: 8, events: 12 },
    });
    onTestFinished(() => server.close());
    const file = join(await temporaryDirectory(), "refresh-tokens");
    const tokens = server.accounts().map(({ refreshToken }) => refreshToken);
    await writeFile(file, `${tokens.join("\n")}\n`);

    const { figures, talk } = await runMirror([
      "--seed=7",
      `--google=${server.url}`,
      `--token-url=${server.tokenUrl}`,
      `--refresh-tokens=${file}`,
    ]);
    expect(talk).not.toContain("simulator");
    expect(figures).toMatchObject({ differences: 0, emptyReads: 0, partialReads: 0 });
    expect(figures.calendars).toBeGreaterThanOrEqual(50);
    // What it says it did, the server has seen.
    expect(server.counters().arrivals).toBeGreaterThan(figures.requests);
  },
);
