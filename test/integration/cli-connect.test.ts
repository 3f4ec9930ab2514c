import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { z } from "zod";
import { loadConfig } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, tenantId } from "../../src/core/ids.ts";
import { openAppStore } from "../../src/operator-app.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { parseOutput, runBallast, startBallast } from "../support/ballast-process.ts";

vi.setConfig({ testTimeout: 180_000 });

const connected = z.object({
  schemaVersion: z.literal(1),
  account: z.object({ id: z.string().startsWith("acc_"), tenant: z.string(), name: z.string() }),
});
const ADA = "user1@example.com";
const BOB = "user2@example.com";
let home = "";
let simulator: Simulator;
let env: Record<string, string> = {};

type Store = Awaited<ReturnType<typeof openAppStore>>;
async function onStore<Result>(use: (store: Store) => Promise<Result>): Promise<Result> {
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

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "ballast-connect-"));
  simulator = await createSimulator({ generate: { accounts: 2, calendars: 1, events: 1 } });
  env = {
    BALLAST_DATA_DIR: home,
    GOOGLE_CLIENT_ID: "client",
    GOOGLE_CLIENT_SECRET: "secret",
    GOOGLE_API_ROOT_URL: simulator.url,
    GOOGLE_OAUTH_TOKEN_URL: simulator.tokenUrl,
    GOOGLE_OAUTH_AUTH_URL: simulator.authUrl,
  };
  await onStore(() => Promise.resolve());
});

afterAll(async () => {
  await simulator.close();
  await rm(home, { recursive: true, force: true });
});

test("a refresh token from a file is tried, stored sealed, and its account's calendars are due to be found", async () => {
  const token = simulator.accounts().find(({ email }) => email === ADA)?.refreshToken ?? "";
  const file = join(home, "token.txt");
  await writeFile(file, `${token}\n`);
  const args = ["connect", "--tenant", "acme", "--account", ADA, "--refresh-token-file", file];
  const first = await runBallast([...args, "--json"], env);
  expect(first.code).toBe(0);
  expect(`${first.stdout}${first.stderr}`).not.toContain(token);
  const { account } = parseOutput(first, connected);
  expect(account).toMatchObject({ tenant: "acme", name: ADA });

  const { row, stored } = await onStore(async (store) => {
    const found = await store.accounts.find(tenantId("acme"), accountName(ADA));
    return { row: found, stored: found && (await store.accounts.readGrant(found.id)) };
  });
  expect(stored).toEqual({ kind: "refresh-token", refreshToken: token });
  expect(row).toMatchObject({ state: "connected", discoveredAt: undefined });
  expect(row?.discoveryDueAt).toBeLessThanOrEqual(systemClock.now());
  // Whom Google charges: its number for the account, out of the id token.
  expect(String(row?.quotaUser)).toContain(simulator.accounts()[0]?.sub);

  const again = await runBallast([...args, "--json"], env);
  expect(parseOutput(again, connected).account.id).toBe(account.id);
});

test("consent in the browser: asked with PKCE, a strange answer changes nothing, ours connects", async () => {
  const command = startBallast(["connect", "--tenant", "acme", "--account", BOB, "--json"], env);
  const [address] = await command.says(/http:\S+/);
  const asked = new URL(address).searchParams;
  expect(Object.fromEntries(asked)).toMatchObject({
    response_type: "code",
    access_type: "offline",
    prompt: "consent",
    code_challenge_method: "S256",
    client_id: "client",
    login_hint: BOB,
    scope: "openid https://www.googleapis.com/auth/calendar.readonly",
  });
  const redirect = asked.get("redirect_uri") ?? "";
  expect(new URL(redirect).hostname).toBe("127.0.0.1");

  const strange = await fetch(`${redirect}?code=4/stolen&state=guessed`);
  expect(strange.status).toBe(400);
  expect(await (await fetch(address)).text()).toContain("You can close this window");
  const ended = await command.ended;
  expect(ended.code).toBe(0);
  expect(parseOutput(ended, connected).account.name).toBe(BOB);
  await expect(fetch(redirect)).rejects.toThrow("fetch failed");
  const stored = await onStore(async (store) => {
    const row = await store.accounts.find(tenantId("acme"), accountName(BOB));
    return row && (await store.accounts.readGrant(row.id));
  });
  expect(stored).toMatchObject({ refreshToken: expect.stringMatching(/^1\/\/sim-/) as unknown });
});

test("consent that is denied connects nobody: 4", async () => {
  const command = startBallast(
    ["connect", "--tenant", "acme", "--account", "denied@x.example"],
    env,
  );
  const [address] = await command.says(/http:\S+/);
  await fetch(`${address}&consent=deny`);
  const { code, stderr } = await command.ended;
  expect(code).toBe(4);
  expect(stderr).toContain("access_denied");
});

test("nobody answers in time: 1; Ctrl-C before: 130", async () => {
  const args = ["connect", "--tenant", "acme", "--account", "nobody"];
  const waiting = startBallast([...args, "--timeout", "1"], env);
  const interrupted = startBallast(args, env);
  await interrupted.says(/http:\S+/);
  interrupted.signal("SIGINT");
  const [late, cut] = await Promise.all([waiting.ended, interrupted.ended]);
  expect([late.code, cut.code]).toEqual([1, 130]);
  expect(late.stderr).toContain("--timeout");
});

test("a right to read calendars that was not given is noticed", async () => {
  // The simulator gives every right, so the answer comes from a server that gives less.
  const { createServer } = await import("node:http");
  const server = createServer((_request, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ access_token: "x", scope: "openid email" }));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const { code, stderr } = await runBallast(
    ["connect", "--tenant", "acme", "--account", "less", "--refresh-token-file", "-"],
    { ...env, GOOGLE_OAUTH_TOKEN_URL: `http://127.0.0.1:${String(port)}/` },
    "1//token",
  );
  server.close();
  expect(code).toBe(4);
  expect(stderr).toContain("given: openid email");
});
