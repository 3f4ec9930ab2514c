import type { EpochMs } from "./clock.ts";
import type { ProjectId } from "./ids.ts";

/** How many requests were alike in everything that the rollups tell apart. */
export interface UsageFigure {
  readonly tenantId: string;
  readonly consumer: string;
  readonly class: string;
  readonly operation: string;
  readonly attempt: string;
  /** How they ended; `refused`: not sent, by our own decision; `unused`: paid for, and not sent. */
  readonly outcome: string;
  /** Why, in a failure's or a refusal's own word; empty where the outcome says it all. */
  readonly reason: string;
  readonly requests: number;
}

/** Figures that are counted together once, however often they are handed in. */
export interface UsageBatch {
  readonly id: string;
  readonly projectId: ProjectId;
  readonly at: EpochMs;
  readonly figures: readonly UsageFigure[];
}

/** What someone sent, by whom and why. */
export type UsageTotal = Pick<
  UsageFigure,
  "tenantId" | "consumer" | "class" | "attempt" | "requests"
>;

/** What did not succeed: sent and failed, or refused by us; by whom and why. */
export type UsageFailure = Pick<
  UsageFigure,
  "tenantId" | "consumer" | "class" | "attempt" | "outcome" | "reason" | "requests"
>;

/** Which figures are asked for. */
export interface UsageQuery {
  readonly projectId: ProjectId;
  readonly since: EpochMs;
  readonly by: "minute" | "quarter";
  readonly limit: number;
}

/**
 * Who spent the quota, as bounded figures: at most `ROLLUP_ROWS` rows a minute and a quarter of an hour;
 * the tenants beyond the largest 200 are counted together, as `other`.
 */
export interface UsageStore {
  add(batch: UsageBatch): Promise<void>;
  /** Requests that were sent since then, most first. Minutes reach 48 hours back, quarters 14 days. */
  totals(query: UsageQuery): Promise<readonly UsageTotal[]>;
  /** What did not succeed since then, with its reason, most first; what was paid for and not sent is left out. */
  unsuccessful(query: UsageQuery): Promise<readonly UsageFailure[]>;
  /** First tries and retries that were sent since then, over all projects. */
  attempts(since: EpochMs): Promise<{ readonly first: number; readonly retry: number }>;
  /** Forget one period that is too old; false: there was none. Call until then. */
  prune(now: EpochMs): Promise<boolean>;
}

/** The most rows that one minute, or one quarter of an hour, of one project may come to. */
export const ROLLUP_ROWS = 2_000;

/** Stands for everyone who is not told apart. */
export const OTHER = "other";
