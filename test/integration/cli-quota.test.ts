import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { z } from "zod";
import { loadConfig } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, tenantId } from "../../src/core/ids.ts";
import { openAppStore } from "../../src/operator-app.ts";
import { operatorName } from "../../src/cli/operator-name.ts";
import { parseOutput, runBallast, startBallast } from "../support/ballast-process.ts";

vi.setConfig({ testTimeout: 240_000 });

type Store = Awaited<ReturnType<typeof openAppStore>>;
let env: Record<string, string> = {};

const reportSchema = z.object({
  source: z.string(),
  minute: z.object({ limit: z.number(), used: z.number() }).nullable(),
  day: z.object({ limit: z.number(), used: z.number(), left: z.number(), forecast: z.number() }),
  spenders: z.array(z.object({ tenantId: z.string(), class: z.string(), requests: z.number() })),
});

async function withStore<T>(use: (store: Store) => Promise<T>): Promise<T> {
  const store = await openAppStore(
    loadConfig(env),
    { clock: systemClock },
    { migrateWhenEmpty: true },
  );
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

let home = "";

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "ballast-quota-"));
  env = { BALLAST_DATA_DIR: home, BALLAST_HTTP_PORT: "0" };
  await withStore((store) =>
    store.usage.add({
      id: randomBytes(8).toString("hex"),
      projectId: projectId("default"),
      at: systemClock.now(),
      figures: [
        {
          tenantId: "acme\u001b[31m",
          consumer: "booking-api",
          class: "poll",
          operation: "events.list",
          attempt: "retry",
          outcome: "succeeded",
          reason: "",
          requests: 42,
        },
      ],
    }),
  );
});

afterAll(() => rm(home, { recursive: true, force: true }));

test("set shows before and after, and records who and why", async () => {
  const args = ["quota", "set", "perDay", "400000", "--reason", "half is another team's"];
  const planned = await runBallast([...args, "--plan"], env);
  expect(planned.stdout).toContain("quota.default.perDay: 1000000 → 400000");
  expect(planned.stderr).toContain("Nothing was changed");
  const done = await runBallast([...args, "--json"], env);
  expect(JSON.parse(done.stdout)).toEqual({
    schemaVersion: 1,
    setting: "quota.default.perDay",
    before: 1_000_000,
    after: 400_000,
    isPlan: false,
  });
  const entries = await withStore((store) => store.operatorLog.list({ limit: 10 }));
  expect(entries).toMatchObject([
    {
      actor: operatorName(),
      action: "settings.changed",
      subject: "quota.default.perDay",
      reason: "half is another team's",
      details: { before: null, value: "400000" },
    },
  ]);
  const report = parseOutput(await runBallast(["quota", "--json"], env), reportSchema);
  expect(report).toMatchObject({ source: "database", minute: null, day: { limit: 400_000 } });
  expect(report.spenders).toMatchObject([{ class: "poll", requests: 42 }]);
});

test("an unknown name is answered with the nearest one, a bad value with what it should be", async () => {
  const unknown = await runBallast(["quota", "set", "perDey", "5", "--reason", "x"], env);
  expect(unknown).toMatchObject({ code: 2, stdout: "" });
  expect(unknown.stderr).toContain("There is no setting perDey. The nearest is perDay.");
  const invalid = await runBallast(["quota", "set", "perDay", "lots", "--reason", "x"], env);
  expect(invalid).toMatchObject({ code: 2, stdout: "" });
  expect(invalid.stderr).toMatch(/perDay cannot be lots: .*number/);
  const both = await runBallast(
    ["quota", "set", "cap", "1", "--tenant", "a", "--consumer", "b", "--reason", "x"],
    env,
  );
  expect(both.code).toBe(2);
  expect((await runBallast(["quota", "set", "perDay", "5"], env)).stderr).toContain("--reason");
});

test("a table tells who used it, without their control characters", async () => {
  const { stdout, code } = await runBallast(["quota"], env);
  expect(code).toBe(0);
  expect(stdout).toMatch(/42\s+acme·\[31m\s+booking-api\s+poll\s+retry/);
});

test("resume says when nothing is held, and resumes what is, on record", async () => {
  const args = ["resume", "disconnects", "--reason", "Google has recovered"];
  expect((await runBallast(args, env)).stderr).toContain("Nothing was held.");
  await withStore(async (store) => {
    for (let n = 0; n < 6; n += 1) {
      const { id } = await store.accounts.connect({
        projectId: projectId("default"),
        tenantId: tenantId("acme"),
        name: accountName(`account-${String(n)}`),
        quotaUser: undefined,
        refreshToken: "token",
        scopes: [],
        now: systemClock.now(),
      });
      await store.deadGrants.report(id, {
        reason: "GCAL_CREDENTIALS_REVOKED",
        now: systemClock.now(),
        limits: { windowMs: 60_000, accounts: 5, share: 0.01, probeEveryMs: 60_000 },
      });
    }
  });
  expect(await runBallast(args, env)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("6 accounts were refused lately") as unknown,
  });
  const [entry] = await withStore((store) => store.operatorLog.list({ limit: 1 }));
  expect(entry).toMatchObject({
    actor: operatorName(),
    action: "disconnects.resumed",
    reason: "Google has recovered",
  });
});

test("a running service decides by a changed limit within seconds, and its figures are shown live", async () => {
  const service = startBallast(["start", "--json"], env);
  try {
    await service.document(60_000);
    await runBallast(["quota", "set", "projectPerMinute", "1234", "--reason", "test"], env);
    await vi.waitFor(
      async () => {
        const report = parseOutput(await runBallast(["quota", "--json"], env), reportSchema);
        expect(report).toMatchObject({ source: "ledger", minute: { limit: 1_234 } });
        expect(report.spenders.some((one) => !one.tenantId.startsWith("acme"))).toBe(true);
      },
      { timeout: 60_000, interval: 500 },
    );
  } finally {
    service.signal("SIGTERM");
    await service.ended;
  }
});

test("--plan shows what goes out without anybody asking, and whether the day holds it", async () => {
  const plan = z.object({
    schemaVersion: z.literal(1),
    limit: z.object({ perDay: z.number(), boundBy: z.string() }),
    kinds: z.array(z.object({ kind: z.string(), count: z.number(), intervalMs: z.number() })),
    neverRead: z.number(),
    sum: z.number(),
    factor: z.number(),
    sentence: z.string(),
    inForce: z.object({ factor: z.number() }).nullable(),
  });
  const lists = async (perDay: string): Promise<z.output<typeof plan>> => {
    await runBallast(["quota", "set", "perDay", perDay, "--reason", "a test"], env);
    return parseOutput(await runBallast(["quota", "--plan", "--json"], env), plan);
  };
  const ample = await lists("1000000");
  expect(ample).toMatchObject({ factor: 1, limit: { perDay: 1_000_000, boundBy: "day" } });
  expect(ample.sum).toBeLessThanOrEqual(1_000_000);
  expect(ample.sentence).toContain("every calendar polled as configured");
  const accounts = ample.kinds.find(({ kind }) => kind === "lists")?.count ?? 0;
  expect(accounts).toBeGreaterThan(0);
  const little = await lists("1");
  expect(little.factor).toBeGreaterThan(1);
  expect(little.sum).toBeLessThanOrEqual(1);
  const { stdout, code } = await runBallast(["quota", "--plan"], env);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^lists +\d+ +6 h +\d/m);
  expect(stdout).toMatch(/^limit +1 /m);
  expect(stdout).toMatch(/Every interval is stretched \d+\.\d+ times/);
  await runBallast(["quota", "set", "perDay", "default", "--reason", "a test"], env);
});
