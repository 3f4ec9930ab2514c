import { describe, expect, test } from "vitest";
import { projectId } from "../../src/core/ids.ts";
import { planSetting, type SettingPlan } from "../../src/quota/plan-setting.ts";

const PROJECT = projectId("default");

interface Change {
  readonly name: string;
  readonly value: string;
  readonly tenant?: string;
  readonly consumer?: string;
  readonly rows?: Readonly<Record<string, unknown>>;
}

function plan({ name, value, tenant, consumer, rows = {} }: Change): SettingPlan {
  const stored = Object.entries(rows).map(([row, of]) => ({
    name: `quota.default.${row}`,
    value: of,
  }));
  const owner =
    tenant === undefined
      ? ({ kind: "consumer", id: consumer ?? "" } as const)
      : ({ kind: "tenant", id: tenant } as const);
  const of = tenant === undefined && consumer === undefined ? undefined : owner;
  return planSetting(PROJECT, stored, { name, value, of });
}

describe("a planned change of a setting", () => {
  test("tells the row, and what is in force before and after", () => {
    expect(plan({ name: "perDay", value: "500000", rows: { perDay: 700_000 } })).toEqual({
      kind: "planned",
      row: "quota.default.perDay",
      value: 500_000,
      before: 700_000,
      after: 500_000,
    });
  });

  test("takes a setting back to its default", () => {
    expect(plan({ name: "perDay", value: "default", rows: { perDay: 5 } })).toMatchObject({
      value: undefined,
      before: 5,
      after: 1_000_000,
    });
  });

  test("changes one class or operation and leaves the others", () => {
    const change = { name: "classReserve.backfill", value: "0.4" };
    expect(plan({ ...change, rows: { classReserve: { poll: 0.3 } } })).toMatchObject({
      before: { push: 0.05, poll: 0.3, backfill: 0.2 },
      after: { push: 0.05, poll: 0.3, backfill: 0.4 },
    });
    expect(plan({ name: "weights.events.insert", value: "2" })).toMatchObject({
      after: { "events.patch": 3, "events.insert": 2 },
    });
    const rows = { weights: { "events.patch": 9, "events.insert": 2 } };
    expect(plan({ name: "weights.events.patch", value: "default", rows })).toMatchObject({
      after: { "events.patch": 3, "events.insert": 2 },
    });
  });

  test("a cap for a consumer does not give it classes that it had not", () => {
    expect(plan({ name: "cap", value: "0.2", consumer: "booking-api" })).toMatchObject({
      row: "quota.default.consumer:booking-api",
      before: { cap: 1, classes: ["push", "poll", "backfill"] },
      after: { cap: 0.2, classes: ["push", "poll", "backfill"] },
    });
    expect(plan({ name: "classes", value: "push, poll", consumer: "x" })).toMatchObject({
      after: { cap: 1, classes: ["push", "poll"] },
    });
  });

  test("a tenant keeps its cap when its weight changes", () => {
    const rows = { "tenant:acme": { cap: 0.5 } };
    expect(plan({ name: "weight", value: "3", tenant: "acme", rows })).toMatchObject({
      before: { weight: 1, cap: 0.5 },
      value: { weight: 3, cap: 0.5 },
    });
  });

  test.for([
    { name: "perDay", value: "many" },
    { name: "perDay", value: "0" },
    { name: "perDay.poll", value: "5" },
    { name: "classReserve.urgent", value: "0.1" },
    { name: "classReserve.poll", value: "2" },
    { name: "cap", value: "7", tenant: "acme" },
    { name: "classes", value: "urgent", consumer: "x" },
  ])("refuses $name = $value with its problem", (change) => {
    const answer = plan(change);
    expect(answer.kind === "invalid" && answer.problem).toMatch(/\w/);
  });

  test.for([
    { name: "perDey", value: "5" },
    { name: "tenants", value: "{}" },
    { name: "perDay", value: "5", tenant: "acme" },
    { name: "weight", value: "5", consumer: "x" },
  ])("knows no $name there, and says what there is", (change) => {
    const answer = plan(change);
    const known = answer.kind === "unknown-setting" ? answer.known : [];
    expect(known.length).toBeGreaterThan(0);
    expect(known).not.toContain(change.name);
  });
});
