import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { failureCode, type FailureKind } from "../../src/core/failure.ts";
import { FAILURE_POLICY } from "../../src/core/failure-policy.ts";
import type { RefusalCode } from "../../src/core/refusal.ts";

const REFUSALS: Record<RefusalCode, true> = {
  BALLAST_LEDGER_UNAVAILABLE: true,
  BALLAST_PAUSED: true,
  BALLAST_BUDGET_SPENT: true,
  BALLAST_BREAKER_OPEN: true,
  BALLAST_QUEUE_FULL: true,
  BALLAST_CLASS_NOT_ALLOWED: true,
  BALLAST_DEADLINE_PASSED: true,
  BALLAST_STORE_UNAVAILABLE: true,
  BALLAST_BATCH_REFUSED: true,
  BALLAST_UNATTRIBUTED: true,
};

test("docs/failure-modes.md has a section for every code, and for no other of Google's", () => {
  const page = readFileSync(new URL("../../docs/failure-modes.md", import.meta.url), "utf8");
  const sections = [...page.matchAll(/^## (\S+)$/gm)].map(([, code]) => code ?? "");
  const kinds = Object.keys(FAILURE_POLICY) as FailureKind[];
  const google = kinds.map((kind) => failureCode(kind));

  expect(sections.filter((code) => code.startsWith("GCAL_")).toSorted()).toEqual(google.toSorted());
  expect(sections).toEqual(expect.arrayContaining(Object.keys(REFUSALS)));
});
