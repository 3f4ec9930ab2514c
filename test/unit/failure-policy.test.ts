import { describe, expect, test } from "vitest";
import type { FailureKind } from "../../src/core/failure.ts";
import { FAILURE_POLICY, retryAfterOf, type Policy } from "../../src/core/failure-policy.ts";

const entries = Object.entries(FAILURE_POLICY) as [FailureKind, Policy][];
const kindsWhere = (holds: (policy: Policy) => boolean): FailureKind[] =>
  entries.filter(([, policy]) => holds(policy)).map(([kind]) => kind);

describe("the failure policy", () => {
  test("nothing permanent is tried again in place", () => {
    expect(kindsWhere((policy) => policy.isPermanent && policy.inPlace !== "never")).toEqual([]);
  });

  test("I5: only Google's own word about a token leads to a full read", () => {
    expect(kindsWhere((policy) => policy.owner.kind === "full-sync")).toEqual([
      "sync-token-dead",
      "updated-min-too-old",
    ]);
  });

  test("a reconnect is asked for by nothing that passes", () => {
    expect(kindsWhere((policy) => policy.owner.kind === "reconnect")).toEqual([
      "scope-missing",
      "credentials-revoked",
    ]);
  });

  test("the breaker counts upstream's failures and no refusal of Google's", () => {
    expect(kindsWhere((policy) => policy.sensor === "upstream-failed")).toEqual([
      "upstream-unavailable",
      "timed-out",
      "malformed-response",
    ]);
  });

  test("the project stops for its own faults only", () => {
    expect(kindsWhere((policy) => policy.budget.startsWith("stop-project"))).toEqual([
      "day-limit-exceeded",
      "api-not-enabled",
    ]);
  });

  test("only what Google throttles slows a scope", () => {
    expect(kindsWhere((policy) => policy.budget === "slow-scope")).toEqual(["rate-limited"]);
  });

  test("a wait that Google asked for is handed on, and no other is made up", () => {
    expect(retryAfterOf({ kind: "upstream-unavailable", retryAfterMs: 1500 })).toBe(1500);
    expect(retryAfterOf({ kind: "timed-out" })).toBeUndefined();
  });
});
