import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { z } from "zod";
import { loadConfig } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, tenantId } from "../../src/core/ids.ts";
import { openAppStore } from "../../src/operator-app.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { parseOutput, runBallast } from "../support/ballast-process.ts";

vi.setConfig({ testTimeout: 180_000 });

const ADA = "user1@example.com";
const ROBOT = "robot@project.iam.example";
const pair = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
});
const rotatedShape = z.object({
  to: z.string(),
  rotated: z.number(),
  left: z.number(),
  unopened: z.array(z.string()),
});
const listShape = z.object({
  accounts: z.array(
    z.object({
      name: z.string(),
      state: z.string(),
      reason: z.string().nullable(),
      since: z.number(),
      by: z.string(),
      next: z.string().nullable(),
    }),
  ),
  next: z.null(),
});

let home = "";
let simulator: Simulator;
let env: Record<string, string> = {};
let keyFile = "";

type Store = Awaited<ReturnType<typeof openAppStore>>;
async function onStore<Result>(
  use: (store: Store) => Promise<Result>,
  variables = env,
): Promise<Result> {
  const store = await openAppStore(
    loadConfig(variables),
    { clock: systemClock },
    { migrateWhenEmpty: true },
  );
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

function connectByToken(store: Store, name: string): ReturnType<Store["accounts"]["connect"]> {
  return store.accounts.connect({
    projectId: projectId("default"),
    tenantId: tenantId("acme"),
    name: accountName(name),
    quotaUser: undefined,
    refreshToken: `token-of-${name}`,
    scopes: [],
    now: systemClock.now(),
  });
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "ballast-accounts-"));
  simulator = await createSimulator({
    generate: { accounts: 1, calendars: 1, events: 1 },
    serviceAccounts: [{ email: ROBOT, publicKey: pair.publicKey, project: "1" }],
  });
  env = {
    BALLAST_DATA_DIR: home,
    GOOGLE_API_ROOT_URL: simulator.url,
    GOOGLE_OAUTH_TOKEN_URL: simulator.tokenUrl,
  };
  keyFile = join(home, "robot.json");
  await writeFile(
    keyFile,
    JSON.stringify({
      type: "service_account",
      client_email: ROBOT,
      private_key: pair.privateKey,
      token_uri: "https://elsewhere.example/token",
    }),
  );
  await onStore(() => Promise.resolve());
});

afterAll(async () => {
  await simulator.close();
  await rm(home, { recursive: true, force: true });
});

const robotArgs = (...more: readonly string[]): string[] => [
  "connect",
  "--tenant",
  "acme",
  "--account",
  "ada",
  "--service-account",
  keyFile,
  ...more,
];

test("a service account is tried for its user, and its key stored sealed", async () => {
  const connected = await runBallast(robotArgs("--subject", ADA, "--json"), env);
  expect(connected.stderr).toBe("");
  expect(connected.code).toBe(0);
  expect(`${connected.stdout}${connected.stderr}`).not.toContain("PRIVATE KEY");
  const grant = await onStore(async (store) => {
    const row = await store.accounts.find(tenantId("acme"), accountName("ada"));
    return row && (await store.accounts.readGrant(row.id));
  });
  expect(grant).toEqual({
    kind: "service-account",
    clientEmail: ROBOT,
    privateKey: pair.privateKey,
    subject: ADA,
    scopes: ["https://www.googleapis.com/auth/calendar.readonly"],
  });
  const { database } = loadConfig(env);
  const bytes = await readFile(database.kind === "sqlite" ? database.path : "");
  // The account's name is there, so the search finds what there is.
  expect([bytes.includes("acme"), bytes.includes("PRIVATE KEY")]).toEqual([true, false]);
});

test("a user that it may not act for, a file that is no key, a subject without one: each is told apart", async () => {
  const [notDelegated, noKey, alone] = await Promise.all([
    runBallast(robotArgs("--subject", "nobody@elsewhere.example", "--json"), env),
    runBallast([...robotArgs("--json"), "--service-account", join(home, "keys")], env),
    runBallast(["connect", "--tenant", "t", "--account", "a", "--subject", ADA, "--json"], env),
  ]);
  expect([notDelegated.code, noKey.code, alone.code]).toEqual([4, 4, 2]);
  expect(notDelegated.stderr).toContain("BALLAST_NOT_DELEGATED");
  expect(noKey.stderr).toContain("BALLAST_SERVICE_ACCOUNT_FILE");
  const secret = (await readFile(join(home, "keys"), "utf8")).split(":")[1]?.trim() ?? "";
  expect(noKey.stderr).not.toContain(secret);
});

test("accounts are listed with why, since when, and what to do", async () => {
  const id = await onStore(async (store) => {
    const row = await connectByToken(store, "bob's");
    await store.accounts.markNeedsReconnect(row.id, "GCAL_SCOPE_MISSING");
    return row.id;
  });
  const listed = await runBallast(["accounts", "--state", "needs-reconnect", "--json"], env);
  expect(parseOutput(listed, listShape).accounts).toMatchObject([
    {
      name: "bob's",
      reason: "GCAL_SCOPE_MISSING",
      by: "refresh-token",
      next: String.raw`ballast connect --tenant acme --account 'bob'\''s'`,
    },
  ]);
  const table = await runBallast(["accounts", "--tenant", "acme"], env);
  expect(table.stdout).toContain(id);
  expect(table.stdout).toContain("service-account");
  const status = await runBallast(["status"], env);
  expect(status.stdout).toContain("1 connected, 1 to reconnect, 0 paused");
  await onStore((store) => connectByToken(store, "bob's"));
  expect((await runBallast(["accounts", "--state", "needs-reconnect"], env)).stdout).toBe("");
});

test("embedded, a new key is made and a process that runs goes on reading and then writes with it", async () => {
  const path = join(home, "keys");
  const before = await readFile(path, "utf8");
  await onStore(async (running) => {
    const old = running.vault.currentKeyId;
    const rotated = parseOutput(await runBallast(["keys", "rotate", "--json"], env), rotatedShape);
    expect(rotated).toMatchObject({ rotated: 2, left: 0, unopened: [] });
    expect(rotated.to).not.toBe(old);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const lines = (await readFile(path, "utf8")).trim().split("\n");
    expect(lines).toHaveLength(2);
    expect(lines[1]).toBe(before.trim());
    const row = await running.accounts.find(tenantId("acme"), accountName("bob's"));
    if (row === undefined) throw new Error("No account");
    expect(await running.accounts.readGrant(row.id)).toMatchObject({
      refreshToken: "token-of-bob's",
    });
    expect(running.vault.currentKeyId).toBe(rotated.to);
    const log = await running.operatorLog.list({ limit: 20 });
    expect(log.filter(({ action }) => action === "keys.rotated")).toMatchObject([
      { subject: rotated.to, details: { from: old, rotated: 2, left: 0, interrupted: false } },
    ]);
  });
});

test("with a list of keys: the newest first, nothing lost on the way, the order is watched, doctor knows", async () => {
  const directory = await mkdtemp(join(home, "list-"));
  const [k1 = "", k2 = ""] = ["k1", "k2"].map(
    (id) => `${id}:${randomBytes(32).toString("base64")}`,
  );
  const withKeys = (...keys: readonly string[]): Record<string, string> => ({
    ...env,
    BALLAST_DATA_DIR: directory,
    BALLAST_ENCRYPTION_KEYS: keys.join(","),
  });
  const rotate = (
    keys: readonly string[],
    ...more: readonly string[]
  ): ReturnType<typeof runBallast> =>
    runBallast(["keys", "rotate", ...more, "--json"], withKeys(...keys));
  await onStore(async (store) => {
    await connectByToken(store, "ann");
    await connectByToken(store, "bob");
  }, withKeys(k1));

  expect(parseOutput(await rotate([k1]), rotatedShape)).toMatchObject({ to: "k1", rotated: 0 });
  const notFirst = await rotate([k1, k2], "--to", "k2");
  expect(notFirst.code).toBe(4);
  expect(notFirst.stderr).toContain("BALLAST_KEY_ORDER");
  const missing = await rotate([k2]);
  expect(missing.code).toBe(3);
  expect(parseOutput(missing, rotatedShape)).toMatchObject({ rotated: 0, left: 2 });
  const doctor = await runBallast(["doctor"], withKeys(k2));
  expect(doctor.stdout).toMatch(/encryption keys.*still needed: k1 \(2 accounts\)/);
  const both = await rotate([k2, k1], "--to", "k2");
  expect(parseOutput(both, rotatedShape)).toMatchObject({ to: "k2", rotated: 2, left: 0 });
  expect((await runBallast(["doctor"], withKeys(k2, k1))).stdout).toMatch(
    /encrypted with k2; no longer needed for it: k1/,
  );
  const backwards = await rotate([k1, k2]);
  expect(backwards.code).toBe(4);
  expect(backwards.stderr).toContain("wrong order");
  expect((await rotate([k1, k2], "--to", "k1")).code).toBe(0);
  await onStore(async (store) => {
    const row = await store.accounts.find(tenantId("acme"), accountName("ann"));
    if (row === undefined) throw new Error("No account");
    expect(await store.accounts.readGrant(row.id)).toMatchObject({ refreshToken: "token-of-ann" });
  }, withKeys(k1));
});
