import type { FailureKind } from "../core/failure.ts";
import type { Attribution, Operation } from "../core/request.ts";
import type { PermitOutcome, Upstream } from "./permit.ts";

/** Asks that are alike in everything that a limit looks at; the ledger decides them together. */
export interface LedgerLane {
  readonly attribution: Attribution;
  readonly operation: Operation;
  readonly upstream: Upstream;
  readonly attempt: "first" | "retry";
}

/** What became of permits of one lane. */
export interface LaneReport {
  readonly lane: LedgerLane;
  readonly outcome: PermitOutcome;
  /** Of a request that was sent and failed; for the figures alone. */
  readonly reason?: FailureKind | undefined;
  readonly isProbe: boolean;
  readonly count: number;
}

/** Equal for two asks exactly when they belong to one lane. */
export function laneKey(lane: LedgerLane): string {
  const { attribution: by } = lane;
  return [
    lane.upstream,
    by.class,
    by.tenantId,
    by.accountId,
    by.quotaUser,
    by.consumer,
    lane.operation,
    lane.attempt,
  ].join("\u001F");
}

/** A lane as `ledger.lua` reads it. */
export function encodeLane(lane: LedgerLane, count: number): readonly string[] {
  const { attribution: by } = lane;
  return [
    lane.upstream,
    by.class,
    by.tenantId,
    by.accountId,
    by.quotaUser,
    by.consumer,
    lane.operation,
    lane.attempt,
    String(count),
  ];
}

/** A report as `ledger.lua` reads it. */
export function encodeReport(report: LaneReport): readonly string[] {
  const { lane, outcome } = report;
  const { attribution: by } = lane;
  return [
    outcome.kind,
    lane.upstream,
    by.tenantId,
    by.accountId,
    by.quotaUser,
    by.consumer,
    by.class,
    lane.operation,
    lane.attempt,
    report.isProbe ? "1" : "0",
    detailOf(outcome),
    String(Math.max(0, Math.ceil(durationOf(outcome)))),
    String(report.count),
    report.reason ?? "",
  ];
}

function detailOf(outcome: PermitOutcome): string {
  if (outcome.kind === "throttled") return outcome.scope;
  return outcome.kind === "project-stopped" ? outcome.reason : "";
}

function durationOf(outcome: PermitOutcome): number {
  switch (outcome.kind) {
    case "throttled":
      return outcome.retryAfterMs ?? 0;
    case "writes-parked":
    case "project-stopped":
      return outcome.forMs;
    case "succeeded":
    case "answered":
    case "upstream-failed":
    case "unused":
      return 0;
  }
}
