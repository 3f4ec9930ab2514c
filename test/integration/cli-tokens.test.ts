import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { loadConfig } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, tenantId } from "../../src/core/ids.ts";
import { openAppStore } from "../../src/operator-app.ts";
import { runBallast } from "../support/ballast-process.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

vi.setConfig({ testTimeout: 180_000 });

async function openHome(): Promise<{
  readonly env: Record<string, string>;
  readonly store: Awaited<ReturnType<typeof openAppStore>>;
}> {
  const env = { BALLAST_DATA_DIR: join(await temporaryDirectory(), "data") };
  const store = await openAppStore(
    loadConfig(env),
    { clock: systemClock },
    { migrateWhenEmpty: true },
  );
  await store.accounts.connect({
    projectId: projectId("default"),
    tenantId: tenantId("acme"),
    name: accountName("ada"),
    quotaUser: undefined,
    refreshToken: "1//token",
    scopes: [],
    now: systemClock.now(),
  });
  return { env, store };
}

test("tokens are made, shown once, listed without their secret, revoked, and each is recorded", async () => {
  const { env, store } = await openHome();
  const create = ["tokens", "create", "--tenant", "acme", "--name", "booking", "--scopes"];
  const made = await runBallast([...create, "read,refresh"], env);
  expect(made.code).toBe(0);
  expect(made.stdout).toMatch(/^tok_[0-9a-f]+\.[A-Za-z0-9_-]{43}\n$/);
  const [id = "", secret = ""] = made.stdout.trim().split(".");
  const [row] = await store.tokens.find([id]);
  expect(row).toMatchObject({ tenantId: "acme", name: "booking", scopes: ["read", "refresh"] });
  expect(JSON.stringify(row)).not.toContain(secret);

  const listed = await runBallast(["tokens", "list", "--json"], env);
  expect(JSON.parse(listed.stdout)).toMatchObject({
    tokens: [{ id, tenantId: "acme", revokedAt: null }],
    next: null,
  });
  const revoked = await runBallast(["tokens", "revoke", made.stdout.trim()], env);
  expect(revoked).toMatchObject({ code: 0, stdout: `Revoked ${id}.\n` });
  expect(revoked.stderr + listed.stdout).not.toContain(secret);
  expect((await store.tokens.find([id]))[0]?.revokedAt).toBeDefined();
  const log = await store.operatorLog.list({ limit: 2 });
  expect(log.map(({ action, subject }) => [action, subject])).toEqual([
    ["token.revoked", id],
    ["token.created", id],
  ]);
  await store.close();
});

test("a tenant, a scope or a token that is not there is said, with an exit code", async () => {
  const { env, store } = await openHome();
  await store.close();
  const create = ["tokens", "create", "--name", "n", "--json", "--tenant"];
  const [nobody, scope, none] = await Promise.all([
    runBallast([...create, "nobody", "--scopes", "read"], env),
    runBallast([...create, "acme", "--scopes", "operate"], env),
    runBallast(["tokens", "revoke", "tok_000000000000", "--json"], env),
  ]);
  expect(nobody.code).toBe(1);
  expect(nobody.stderr).toContain("BALLAST_UNKNOWN_TENANT");
  expect(scope.code).toBe(2);
  expect(none.code).toBe(1);
  expect(none.stderr).toContain("BALLAST_UNKNOWN_TOKEN");
});

test("refresh --wait ends when the account is paused meanwhile, with state and reason", async () => {
  const { env, store } = await openHome();
  const now = systemClock.now();
  const [account] = [await store.accounts.find(tenantId("acme"), accountName("ada"))];
  if (account === undefined) throw new Error("no account");
  await store.accounts.requestDiscovery(account.id, now);
  const until = systemClock.now();
  const begun = await store.accounts.beginDiscovery(account.id, { now, until });
  if (begun.kind !== "begun") throw new Error(begun.kind);
  await store.accounts.applyDiscovery(begun.lease, {
    kind: "full",
    entries: [
      {
        googleId: "a@example.test",
        summary: "A",
        timeZone: "UTC",
        accessRole: "owner",
        isPrimary: true,
        isHidden: false,
        isDeleted: false,
      },
    ],
    syncToken: "list",
    queryFingerprint: "f",
    served: begun.state.requested,
    nextDueAt: until,
    confirmAt: until,
    now,
  });
  const [row] = await store.calendars.list({ limit: 1 });
  const waiting = runBallast(
    ["refresh", "--calendar", row?.id ?? "", "--wait", "--timeout", "30", "--json"],
    env,
  );
  await vi.waitFor(
    async () => {
      const [seen] = await store.calendars.list({ limit: 1 });
      expect(seen?.requested).toBe(1);
    },
    { timeout: 90_000 },
  );
  await store.accounts.setOperatorPause(
    account.id,
    { reason: "legal hold" },
    { actor: "olga", now: systemClock.now() },
  );
  const ended = await waiting;
  expect(ended.code).toBe(1);
  expect(JSON.parse(ended.stdout)).toMatchObject({
    requested: 1,
    served: 0,
    unserved: [],
    stopped: [{ calendarId: row?.id, state: "paused", reason: "legal hold" }],
  });
  await store.close();
});
