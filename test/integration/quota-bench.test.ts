import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { NumberRow } from "../../bench/number-row.ts";
import { startGoogle } from "../../bench/stacks/google.ts";
import { STACKS } from "../../bench/stacks/orders.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "ballast-bench-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function runBench(
  flags: readonly string[],
): Promise<{ readonly exitCode: unknown; readonly rows: readonly NumberRow[] }> {
  const script = new URL("../../bench/quota.ts", import.meta.url).pathname;
  const json = join(directory, "rows.json");
  const child: ChildProcess = spawn(
    process.execPath,
    [script, "--short", "--json", json, ...flags],
    { stdio: "ignore" },
  );
  const [exitCode] = (await once(child, "exit")) as [unknown];
  const { rows } = JSON.parse(await readFile(json, "utf8")) as { rows: readonly NumberRow[] };
  return { exitCode, rows };
}

// Number 1 under faults, with its control, is ledger-arrivals.test.ts; the storm's numbers have a test of their own.
test("the numbers hold, every control misses, and the peers overstep the limit that Ballast keeps (I1)", async () => {
  const parts = ["side-by-side", "away", "broker", "person"];
  const { rows, exitCode } = await runBench(["--only", parts.join(",")]);
  expect(rows.filter(({ isMet }) => isMet === false)).toEqual([]);
  expect(exitCode).toBe(0);
  const controls = rows.filter(({ stack }) => stack.startsWith("control"));
  expect(new Set(controls.map(({ number }) => number))).toEqual(
    new Set(["5", "6", "8", "9", "17"]),
  );
  const beside = rows.filter(
    ({ number, figures }) => number === "1" && figures["rejected"] !== undefined,
  );
  expect(beside.map(({ stack }) => stack.split(":")[0])).toEqual(STACKS);
  const [ours, ...peers] = beside.map(({ figures }) => figures);
  expect(ours?.["most"]).toBeLessThanOrEqual(Number(ours?.["limit"]));
  expect(ours?.["rejected"]).toBe(0);
  for (const peer of peers) {
    expect(peer["most"]).toBeGreaterThan(Number(peer["limit"]));
    expect(peer["rejected"]).toBeGreaterThan(0);
  }
}, 600_000);

test("what is said to be sent to a server that is not ours is what that server counted", async () => {
  const google = await startGoogle({
    seed: "foreign",
    generate: { accounts: 6, calendars: 1, events: 3 },
  });
  try {
    const tokens = join(directory, "tokens");
    await writeFile(tokens, google.accounts.map(({ refreshToken }) => refreshToken).join("\n"));
    const server = ["--google", google.url, "--token-url", google.tokenUrl];
    const { rows, exitCode } = await runBench([...server, "--refresh-tokens", tokens]);
    expect(exitCode).toBe(0);
    const { figures } = rows.find(({ number }) => number === "1") ?? {};
    const counted = await google.counters();
    expect(figures?.["sent"]).toBe(counted.arrivals);
    expect(figures?.["tokenRequests"]).toBe(counted.tokenRequests);
    expect(figures?.["sent"]).toBeGreaterThan(50);
    expect(figures?.["rejected"]).toBe(0);
    expect(counted.rejectedByLimit).toEqual({});
  } finally {
    google.stop();
  }
}, 600_000);
