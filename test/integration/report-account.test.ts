import { join } from "node:path";
import { expect, test } from "vitest";
import type { AccountId } from "../../src/core/ids.ts";
import { createReportAccount } from "../../src/sync/report-account.ts";
import { openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

interface Line {
  readonly level: string;
  readonly message: string;
}

async function openReporter(): Promise<{
  readonly store: TestStore;
  readonly lines: Line[];
  readonly counted: string[];
  readonly alarm: (accountId: AccountId, reason: string, detail: string) => Promise<void>;
  readonly report: (accountId: AccountId, reason: string) => Promise<void>;
}> {
  const store = await openTestStore(`sqlite:${join(await temporaryDirectory(), "store.db")}`);
  const lines: Line[] = [];
  const logger = {
    log: (level: string, message: string) => {
      lines.push({ level, message });
    },
    with: () => logger,
  };
  const counted: string[] = [];
  const metrics = {
    accountDisconnected: (code: string) => counted.push(`disconnected ${code}`),
    projectAlarmed: (code: string) => counted.push(`alarmed ${code}`),
  };
  const report = createReportAccount({ ...store, logger, metrics });
  return {
    store,
    lines,
    counted,
    alarm: (accountId, reason, detail) =>
      report({ kind: "project-trouble", accountId, reason, detail }),
    report: (accountId, reason) => report({ kind: "needs-reconnect", accountId, reason }),
  };
}

test("an account whose credentials are refused is disconnected and told once", async () => {
  const { store, lines, counted, report } = await openReporter();
  const { account } = await store.connect("acme", "ann", ["a", "b"]);
  await report(account.id, "GCAL_CREDENTIALS_REVOKED");
  await report(account.id, "GCAL_CREDENTIALS_REVOKED");
  expect(lines).toEqual([{ level: "warn", message: "Account needs to reconnect" }]);
  expect(counted).toEqual(["disconnected GCAL_CREDENTIALS_REVOKED"]);
  expect(await store.operatorLog.list({ limit: 10 })).toMatchObject([
    { action: "account.needs-reconnect", subject: account.id, reason: "GCAL_CREDENTIALS_REVOKED" },
  ]);
});

test("a wave of refused credentials alarms once and leaves everyone connected", async () => {
  const { store, lines, report } = await openReporter();
  for (let n = 0; n < 9; n += 1) {
    const { account } = await store.connect("acme", `account-${String(n)}`, ["a"]);
    await report(account.id, "GCAL_CREDENTIALS_REVOKED");
  }
  expect(lines.filter(({ level }) => level === "error")).toHaveLength(1);
  expect(lines.filter(({ level }) => level === "warn")).toHaveLength(5);
  expect(await store.accounts.countsByState()).toMatchObject({ connected: 9 });
  expect(await store.calendars.counts()).toMatchObject({ never: 9 });
});

test("missing scopes are each account's own: however many, they have to reconnect", async () => {
  const { store, report } = await openReporter();
  for (let n = 0; n < 7; n += 1) {
    const { account } = await store.connect("acme", `account-${String(n)}`, ["a"]);
    await report(account.id, "GCAL_SCOPE_MISSING");
  }
  expect(await store.accounts.countsByState()).toMatchObject({ "needs-reconnect": 7 });
});

test("what is no account's fault disconnects nobody and is told once while it lasts, whoever finds out", async () => {
  const { store, lines, counted, alarm } = await openReporter();
  for (let round = 0; round < 5; round += 1) {
    for (const name of ["ann", "bob", "eve"]) {
      const { account } = await store.connect("acme", name, ["a"]);
      await alarm(account.id, "GCAL_CLIENT_MISCONFIGURED", "invalid_client");
    }
    await store.clock.advance(3 * 60_000);
  }
  expect(lines).toEqual([
    { level: "error", message: expect.stringContaining("OAuth client") as unknown },
  ]);
  expect(counted).toEqual(["alarmed GCAL_CLIENT_MISCONFIGURED"]);
  expect(await store.accounts.countsByState()).toMatchObject({ connected: 3 });
  expect(await store.projectTroubles.list(store.now())).toMatchObject([
    { projectId: "default", code: "GCAL_CLIENT_MISCONFIGURED", detail: "invalid_client" },
  ]);
  const alarms = (): Promise<readonly { readonly action: string }[]> =>
    store.operatorLog.list({ limit: 10 });
  expect(await alarms()).toMatchObject([
    { action: "project.alarmed", subject: "GCAL_CLIENT_MISCONFIGURED", reason: "invalid_client" },
  ]);

  // Another trouble is told for itself; the first is over when nobody runs into it, and told anew after.
  const { account } = await store.connect("acme", "ann", ["a"]);
  await alarm(account.id, "GCAL_CLOCK_SKEWED", "600 s ahead of Google's");
  expect(lines.at(-1)?.message).toContain("clock is off");
  await store.clock.advance(10 * 60_000 + 1);
  expect(await store.projectTroubles.list(store.now())).toEqual([]);
  await alarm(account.id, "GCAL_CLIENT_MISCONFIGURED", "invalid_client");
  expect(counted).toHaveLength(3);
});
