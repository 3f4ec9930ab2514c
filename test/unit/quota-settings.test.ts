import { expect, test } from "vitest";
import {
  encodeLedgerSettings,
  ledgerSettingSchema,
  parseLedgerSettings,
} from "../../src/quota/ledger-settings.ts";

const row = (name: string, value: unknown): { name: string; value: unknown } => ({ name, value });

test("an empty table gives Google's documented limits", () => {
  const { settings, problems } = parseLedgerSettings("default", []);
  expect(problems).toEqual([]);
  expect(settings).toMatchObject({
    windowMs: 60_000,
    projectPerMinute: 10_000,
    userPerMinute: 600,
    perDay: 1_000_000,
    weights: { "events.patch": 3 },
  });
});

test("a row that does not parse rules nothing and is named; the others hold", () => {
  const { settings, problems } = parseLedgerSettings("default", [
    row("quota.default.projectPerMinute", -5),
    row("quota.default.userPerMinute", 300),
    row("quota.default.nonsense", 1),
    row("quota.other.perDay", 7),
  ]);
  expect(settings).toMatchObject({
    projectPerMinute: 10_000,
    userPerMinute: 300,
    perDay: 1_000_000,
  });
  expect(problems).toHaveLength(2);
  expect(problems.join()).toContain("quota.default.projectPerMinute");
  expect(problems.join()).toContain("quota.default.nonsense");
});

test("tenants, consumers and pauses are rows of their own", () => {
  const { settings } = parseLedgerSettings("default", [
    row("quota.default.tenant:acme", { weight: 2 }),
    row("quota.default.consumer:atoms", { cap: 0.1, classes: ["poll"] }),
    row("pause.default.tenant:globex", { reason: "incident 12", endsAt: 5 }),
  ]);
  expect(settings.tenants).toEqual({ acme: { weight: 2, cap: 1 } });
  expect(settings.consumers["atoms"]).toEqual({ cap: 0.1, classes: ["poll"] });
  expect(settings.pauses).toEqual({ "tenant:globex": { reason: "incident 12", endsAt: 5 } });
});

test("a consumer that nobody named may not claim interactive", () => {
  const { settings } = parseLedgerSettings("default", []);
  expect(settings.consumers["*"]?.classes).toEqual(["push", "poll", "backfill"]);
  expect(settings.consumers["ballast-worker"]?.classes).toContain("interactive");
});

test("the ledger is told the heaviest weight and a clock tolerance that transit covers", () => {
  const { settings } = parseLedgerSettings("default", [row("quota.default.transitMs", 400)]);
  const [encoded = ""] = encodeLedgerSettings(settings, [1, 2]);
  expect(JSON.parse(encoded)).toMatchObject({
    heaviest: 3,
    clockToleranceMs: 100,
    dayTurns: [1, 2],
  });
});

test("one setting can be checked before it is written", () => {
  expect(ledgerSettingSchema("perDay")?.safeParse(0).success).toBe(false);
  expect(ledgerSettingSchema("tenant:acme")?.safeParse({ weight: 3 }).success).toBe(true);
  expect(ledgerSettingSchema("perHour")).toBeUndefined();
});
