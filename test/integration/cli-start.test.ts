import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { z } from "zod";
import { identifyProcess } from "../../src/embedded/process-identity.ts";
import {
  parseOutput,
  runBallast,
  startBallast,
  type BallastProcess,
} from "../support/ballast-process.ts";

vi.setConfig({ testTimeout: 300_000 });

const startedSchema = z.object({ pid: z.number(), httpUrl: z.url(), redis: z.string() });
const statusSchema = z.object({
  schemaVersion: z.literal(1),
  verdict: z.enum(["ok", "degraded", "stopped", "unknown"]),
  calendars: z.object({ total: z.number(), fresh: z.number(), never: z.number() }),
});
let home = "";
let env: Record<string, string> = {};
const running = new Set<BallastProcess>();

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "ballast-start-"));
  env = {
    BALLAST_DATA_DIR: home,
    BALLAST_HTTP_PORT: "0",
    // A ledger that restarts waits for a window to pass; the shortest one keeps the second start short.
    BALLAST_QUOTA_WINDOW_SECONDS: "1",
    BALLAST_POLL_SECONDS: "5",
    BALLAST_LOG_LEVEL: "info",
  };
});

afterAll(async () => {
  for (const one of running) one.signal("SIGKILL");
  await Promise.all([...running].map(({ ended }) => ended));
  await rm(home, { recursive: true, force: true });
});

function start(): BallastProcess {
  const one = startBallast(["start", "--json"], env);
  running.add(one);
  return one;
}

async function stop(one: BallastProcess): Promise<number | null> {
  one.signal("SIGINT");
  const { code } = await one.ended;
  running.delete(one);
  return code;
}

interface Started {
  readonly httpUrl: string;
  readonly redisPid: number;
}

async function untilStarted(one: BallastProcess): Promise<Started> {
  const { httpUrl, redis } = z.parse(startedSchema, await one.document());
  const [, redisPid] = /^Redis [\d.]+, private, process (\d+)/.exec(redis) ?? [];
  return { httpUrl, redisPid: Number(redisPid) };
}

async function isAlive(pid: number): Promise<boolean> {
  return (await identifyProcess(pid)) !== undefined;
}

/** How many refreshes of each kind were published, by the lines about job runs. */
function published(one: BallastProcess): { readonly full: number; readonly incremental: number } {
  const lines = one
    .stderr()
    .split("\n")
    .filter((line) => line.includes("outcome=published"));
  const count = (kind: string): number =>
    lines.filter((line) => line.includes(`refresh=${kind}`)).length;
  return { full: count("full"), incremental: count("incremental") };
}

test("start brings everything along, refuses a second one, stops all of it, and carries on from disk", async () => {
  const first = start();
  const { httpUrl, redisPid } = await untilStarted(first);
  expect(await isAlive(redisPid)).toBe(true);
  const ready = await fetch(`${httpUrl}/readyz`);
  expect(ready.status).toBe(200);

  const second = await runBallast(["start"], env);
  expect(second.code).toBe(1);
  expect(second.stderr).toContain(`process ${String(first.pid)}`);
  // The refusal has not touched what runs.
  expect((await fetch(`${httpUrl}/livez`)).status).toBe(200);

  await first.says(/All \d+ calendars are fresh/, 120_000);
  const status = parseOutput(await runBallast(["status", "--json"], env), statusSchema);
  expect(status.verdict).toBe("ok");
  expect(status.calendars.total).toBeGreaterThanOrEqual(50);
  expect(status.calendars.never).toBe(0);
  expect(await (await fetch(httpUrl)).text()).toContain("Ballast: ok");

  const page = z.object({ calendars: z.array(z.object({ id: z.string() })), next: z.string() });
  const [calendar] = parseOutput(
    await runBallast(["calendars", "--limit", "1", "--json"], env),
    page,
  ).calendars;
  const id = calendar?.id ?? "";
  const [events, refresh] = await Promise.all([
    runBallast(["events", "--calendar", id], env),
    runBallast(["refresh", "--calendar", id, "--wait", "--json"], env),
  ]);
  expect(events.stdout).toMatch(/^Fresh: generation/);
  expect(JSON.parse(refresh.stdout)).toMatchObject({ requested: 1, served: 1 });

  expect(await stop(first)).toBe(0);
  expect(await isAlive(redisPid)).toBe(false);
  expect(existsSync(join(home, "instance.lock"))).toBe(false);
  await expect(fetch(`${httpUrl}/livez`)).rejects.toThrow("fetch failed");
  expect(published(first).full).toBeGreaterThanOrEqual(50);

  const third = start();
  await third.document();
  await waitFor(() => published(third).incremental >= 10, 120_000);
  expect(await stop(third)).toBe(0);
  // The sync tokens still hold: the simulator carried on, too.
  expect(published(third).full).toBe(0);
  expect(third.stderr()).not.toContain("GCAL_SYNC_TOKEN_DEAD");
});

test("a start that was killed leaves nothing that stops the next one", async () => {
  const first = start();
  const killed = await untilStarted(first);
  first.signal("SIGKILL");
  await first.ended;
  running.delete(first);
  expect(JSON.parse(await readFile(join(home, "running.json"), "utf8"))).toMatchObject({
    pid: first.pid,
  });

  const next = start();
  const { redisPid } = await untilStarted(next);
  // The Redis of the killed one was ended with it, or as an orphan by the next one.
  expect(await isAlive(killed.redisPid)).toBe(false);
  expect(await stop(next)).toBe(0);
  expect(await isAlive(redisPid)).toBe(false);
});

test("a second Ctrl-C ends at once, and the private Redis with it", async () => {
  const one = start();
  const { redisPid } = await untilStarted(one);
  one.signal("SIGINT");
  await one.says(/Stopping/);
  // One keypress may arrive twice within a moment; this one is a second.
  await new Promise((resolve) => {
    setTimeout(resolve, 350);
  });
  one.signal("SIGINT");
  const { code } = await one.ended;
  running.delete(one);
  // Stopping may have been done before the second one came.
  expect([0, 130]).toContain(code);
  await waitFor(async () => !(await isAlive(redisPid)), 60_000);
});

async function waitFor(isSo: () => boolean | Promise<boolean>, withinMs: number): Promise<void> {
  const endsAt = performance.now() + withinMs;
  while (!(await isSo())) {
    if (performance.now() > endsAt) throw new Error(`Not so within ${String(withinMs)} ms`);
    await new Promise((resolve) => {
      setTimeout(resolve, 100);
    });
  }
}
