import { epochMs, type Clock, type EpochMs } from "../core/clock.ts";
import type { ProjectId } from "../core/ids.ts";
import type { LedgerRecord } from "../core/ledger-record.ts";
import type { QuotaStatus } from "../core/quota-status.ts";
import type { UsageFailure, UsageQuery, UsageStore, UsageTotal } from "../core/usage-store.ts";

const MINUTE_MS = 60_000;
/** The rate that a forecast goes on with: short enough to see a storm, long enough not to be one burst. */
const RATE_OVER_MS = 15 * MINUTE_MS;
const RETRIES_OVER_MS = 5 * MINUTE_MS;

interface Window {
  readonly limit: number;
  readonly used: number;
  readonly left: number;
}

/** The budget as `ballast quota` shows it. */
export interface QuotaReport {
  readonly at: EpochMs;
  /** `ledger`: as of now, from a running service; `database`: as last written, at most seconds old while one runs. */
  readonly source: "ledger" | "database";
  /** Undefined: only a running service knows. */
  readonly minute: Window | undefined;
  readonly retryTokens: number | undefined;
  readonly day: Window & {
    readonly startedAt: EpochMs;
    readonly endsAt: EpochMs;
    /** Requests a minute over the last quarter of an hour. */
    readonly perMinute: number;
    /** What the day will come to at that rate. */
    readonly forecast: number;
    /** When the limit is reached at that rate; undefined: not today. */
    readonly exhaustedAt: EpochMs | undefined;
  };
  /** Retries ÷ requests of the last five minutes; undefined where there were none. */
  readonly retryShare: number | undefined;
  /** Who sent most since `since`, most first. */
  readonly since: EpochMs;
  readonly spenders: readonly UsageTotal[];
  /** What failed or was refused since then, and why, most first. */
  readonly unsuccessful: readonly UsageFailure[];
}

export interface QuotaReportDeps {
  readonly usage: Pick<UsageStore, "totals" | "unsuccessful" | "attempts">;
  readonly ledgerRecord: Pick<LedgerRecord, "readDay">;
  /** Undefined when no running service answers. */
  readonly readQuota: () => Promise<
    Pick<QuotaStatus, "minute" | "day" | "retryTokens"> | undefined
  >;
  readonly clock: Pick<Clock, "now">;
}

export interface QuotaReportOptions {
  readonly projectId: ProjectId;
  readonly perDay: number;
  readonly day: { readonly startedAt: EpochMs; readonly endsAt: EpochMs };
  /** How far back who spent it is looked for. */
  readonly spentWithinMs: number;
  readonly mostSpenders: number;
}

/** Gather how the budget stands and who used it. */
export async function reportQuota(
  options: QuotaReportOptions,
  deps: QuotaReportDeps,
): Promise<QuotaReport> {
  const at = deps.clock.now();
  const since = epochMs(at - options.spentWithinMs);
  const query: UsageQuery = {
    projectId: options.projectId,
    since,
    by: options.spentWithinMs > 24 * 60 * MINUTE_MS ? "quarter" : "minute",
    limit: options.mostSpenders,
  };
  const [quota, record, recent, lately, spenders, unsuccessful] = await Promise.all([
    deps.readQuota(),
    deps.ledgerRecord.readDay(options.projectId),
    deps.usage.attempts(epochMs(at - RETRIES_OVER_MS)),
    deps.usage.attempts(epochMs(at - RATE_OVER_MS)),
    deps.usage.totals(query),
    deps.usage.unsuccessful(query),
  ]);
  const written = record?.dayStartedAt === options.day.startedAt ? record.count : 0;
  const sent = recent.first + recent.retry;
  return {
    at,
    source: quota === undefined ? "database" : "ledger",
    minute: quota === undefined ? undefined : withLeft(quota.minute),
    retryTokens: quota?.retryTokens,
    day: forecast(quota?.day ?? { limit: options.perDay, used: written }, {
      ...options.day,
      at,
      perMinute: (lately.first + lately.retry) / (RATE_OVER_MS / MINUTE_MS),
    }),
    retryShare: sent === 0 ? undefined : recent.retry / sent,
    since,
    spenders,
    unsuccessful,
  };
}

function withLeft({ limit, used }: { readonly limit: number; readonly used: number }): Window {
  return { limit, used, left: Math.max(0, limit - used) };
}

function forecast(
  day: { readonly limit: number; readonly used: number },
  course: {
    readonly at: EpochMs;
    readonly startedAt: EpochMs;
    readonly endsAt: EpochMs;
    readonly perMinute: number;
  },
): QuotaReport["day"] {
  const { at, startedAt, endsAt, perMinute } = course;
  const { left, ...window } = withLeft(day);
  const perMs = perMinute / MINUTE_MS;
  const total = Math.round(day.used + perMs * Math.max(0, endsAt - at));
  const exhaustedAt =
    total > day.limit && perMs > 0 ? epochMs(Math.round(at + left / perMs)) : undefined;
  return { ...window, left, startedAt, endsAt, perMinute, forecast: total, exhaustedAt };
}
