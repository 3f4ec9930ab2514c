import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { z } from "zod";
import { systemClock } from "../../src/core/clock.ts";
import { obtainRedis } from "../../src/embedded/obtain-redis.ts";
import { startPrivateRedis, type PrivateRedis } from "../../src/embedded/redis-server.ts";
import {
  parseOutput,
  runBallast,
  startBallast,
  type BallastProcess,
} from "../support/ballast-process.ts";

vi.setConfig({ testTimeout: 300_000 });

const TOKEN = "the-booking-service";
const simulated = z.object({
  apiRootUrl: z.url(),
  tokenUrl: z.url(),
  accounts: z.array(z.object({ email: z.string(), refreshToken: z.string() })),
});
const listed = z.object({
  calendars: z.array(
    z.object({ id: z.string(), googleId: z.string(), state: z.string(), served: z.number() }),
  ),
});

let home = "";
let redis: PrivateRedis;
const processes: BallastProcess[] = [];

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "ballast-fleet-"));
  const program = await obtainRedis(
    { searchPath: process.env["PATH"] ?? "" },
    { say: () => undefined },
  );
  redis = await startPrivateRedis(
    { program, persistent: false, listen: "port" },
    { clock: systemClock },
  );
});

afterAll(async () => {
  for (const one of processes) one.signal("SIGKILL");
  await Promise.all(processes.map(({ ended }) => ended));
  await redis.stop();
  await rm(home, { recursive: true, force: true });
});

function launch(args: readonly string[], env: Readonly<Record<string, string>>): BallastProcess {
  const one = startBallast(args, env);
  processes.push(one);
  return one;
}

test("a simulator, a worker and a web process of their own sync on one Redis and one database", async () => {
  const tokensFile = join(home, "tokens.txt");
  const simulator = launch(
    [
      "simulate",
      "--accounts",
      "1",
      "--calendars",
      "2",
      "--events",
      "5",
      "--tokens-file",
      tokensFile,
      "--json",
    ],
    {},
  );
  const google = z.parse(simulated, await simulator.document());
  const [account] = google.accounts;
  expect((await readFile(tokensFile, "utf8")).trim()).toBe(account?.refreshToken);

  const env = {
    BALLAST_DATA_DIR: join(home, "data"),
    REDIS_URL: redis.url,
    GOOGLE_CLIENT_ID: "client",
    GOOGLE_CLIENT_SECRET: "secret",
    GOOGLE_API_ROOT_URL: google.apiRootUrl,
    GOOGLE_OAUTH_TOKEN_URL: google.tokenUrl,
    BALLAST_HTTP_PORT: "0",
    BALLAST_API_TOKENS: `booking:refresh:${createHash("sha256").update(TOKEN).digest("hex")}`,
  };
  // Nothing but `start` makes a schema by itself.
  const early = await runBallast(["worker"], env);
  expect(early.code).toBe(4);
  expect(early.stderr).toContain("migrate");
  expect((await runBallast(["migrate", "apply"], env)).code).toBe(0);

  const web = launch(["web", "--json"], env);
  const worker = launch(["worker", "--json"], env);
  const { httpUrl } = z.parse(z.object({ httpUrl: z.url() }), await web.document());
  expect(await worker.document()).toMatchObject({ role: "worker", httpUrl: null });
  expect((await fetch(`${httpUrl}/readyz`)).status).toBe(200);

  const connect = ["connect", "--tenant", "acme", "--account", "ada", "--refresh-token-file", "-"];
  expect((await runBallast(connect, env, account?.refreshToken)).code).toBe(0);
  const calendars = await untilFresh(env, 3);
  const [target] = calendars;

  const before = target?.served ?? 0;
  const refresh = (body: unknown): Promise<Response> =>
    fetch(`${httpUrl}/v1/refresh`, {
      method: "POST",
      headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  const asked = await refresh({
    tenant: "acme",
    account: "ada",
    googleCalendarId: target?.googleId,
  });
  expect(asked.status).toBe(202);
  expect(await asked.json()).toMatchObject({ calendarId: target?.id });
  const wait = ["refresh", "--calendar", target?.id ?? "", "--wait", "--json"];
  expect((await runBallast(wait, env)).code).toBe(0);
  const after = (await list(env)).find(({ id }) => id === target?.id);
  expect(after?.served).toBeGreaterThan(before);

  const everything = await runBallast(["refresh", "--all", "--full", "--wait", "--json"], env);
  expect(JSON.parse(everything.stdout)).toMatchObject({ requested: 3, served: 3, unserved: [] });

  // The budget as the ledger sees it, which the command only looks at.
  const status = await runBallast(["status", "--json"], env);
  expect(JSON.parse(status.stdout)).toMatchObject({
    verdict: "ok",
    quota: { minute: { limit: 10_000 }, day: { limit: 1_000_000 } },
  });

  // Workers alone answer no HTTP, and are asked nothing: the ledger knows.
  web.signal("SIGTERM");
  await web.ended;
  const quota = await runBallast(["quota", "--json"], env);
  expect(JSON.parse(quota.stdout)).toMatchObject({ minute: { limit: 10_000 } });

  for (const one of [worker, simulator]) one.signal("SIGTERM");
  const ends = await Promise.all([worker.ended, web.ended, simulator.ended]);
  expect(ends.map(({ code }) => code)).toEqual([0, 0, 0]);
  // One line per job run, as JSON, for whoever collects them.
  expect(worker.stderr()).toMatch(/"outcome":"published"/);
  expect(worker.stderr()).not.toContain(account?.refreshToken);
});

async function list(
  env: Readonly<Record<string, string>>,
): Promise<z.output<typeof listed>["calendars"]> {
  return parseOutput(await runBallast(["calendars", "--json"], env), listed).calendars;
}

/* Polled: the worker is another process. */
async function untilFresh(
  env: Readonly<Record<string, string>>,
  count: number,
): Promise<z.output<typeof listed>["calendars"]> {
  const endsAt = performance.now() + 90_000;
  for (;;) {
    const calendars = await list(env);
    const fresh = calendars.filter(({ state }) => state === "fresh");
    if (fresh.length === count) return calendars;
    if (performance.now() > endsAt) throw new Error(`Not fresh: ${JSON.stringify(calendars)}`);
  }
}
