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
  const report = createReportAccount({ ...store, logger });
  return {
    store,
    lines,
    report: (accountId, reason) => report({ kind: "needs-reconnect", accountId, reason }),
  };
}

test("an account whose credentials are refused is disconnected and told once", async () => {
  const { store, lines, report } = await openReporter();
  const { account } = await store.connect("acme", "ann", ["a", "b"]);
  await report(account.id, "GCAL_CREDENTIALS_REVOKED");
  await report(account.id, "GCAL_CREDENTIALS_REVOKED");
  expect(lines).toEqual([{ level: "warn", message: "Account needs to reconnect" }]);
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
