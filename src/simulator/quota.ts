import type { ErrorDetail } from "./google-error.ts";
import { createSlidingWindow } from "./sliding-window.ts";
import type { SlidingWindow } from "./sliding-window.ts";
import { utcToWallMs, wallToUtcMs } from "./zone-time.ts";

/** Google's limits, as this simulator should keep them. Undefined: no limit. */
export interface QuotaLimits {
  readonly projectPerWindow?: number | undefined;
  readonly userPerWindow?: number | undefined;
  readonly perDay?: number | undefined;
  readonly windowSeconds: number;
  /** What one request of an operation weighs in the windows; 1 unless named. The day counts requests. */
  readonly weights: Readonly<Record<string, number>>;
  /** Whether a rejected request counts against the windows; not documented by Google. */
  readonly countsRejected: boolean;
  /** The status of a rejection: Google uses both. */
  readonly rejectionStatus: 403 | 429;
  /** The reason given for the user's limit; Google has used both. */
  readonly userReason: "rateLimitExceeded" | "userRateLimitExceeded";
  /** Where the day turns. */
  readonly dayTimeZone: string;
}

/** No limits: what in-process tests get unless they ask. */
export const UNLIMITED: QuotaLimits = {
  windowSeconds: 60,
  // Documented: a PATCH costs three.
  weights: { "events.patch": 3 },
  countsRejected: true,
  rejectionStatus: 403,
  userReason: "rateLimitExceeded",
  dayTimeZone: "America/Los_Angeles",
};

/** Which limit said no. */
export type QuotaScope = "project" | "quota-user" | "day";

/** Google's quota: decides about each arrival, exactly. */
export interface Quota {
  /** Count one arrival and say which limit refuses it, if any. */
  admit(arrival: QuotaArrival): QuotaScope | undefined;
  limits(): QuotaLimits;
  setLimits(limits: Partial<QuotaLimits>): void;
  /** How much of each limit is used at this moment. */
  used(nowMs: number, project: string): { readonly window: number; readonly day: number };
}

/** One request as the quota sees it. */
export interface QuotaArrival {
  readonly project: string;
  readonly quotaUser: string;
  readonly operation: string;
  readonly atMs: number;
}

const DAY_MS = 86_400_000;

/**
 * Create the quota.
 *
 * State: one exact window per project and per project and quota user, and the requests of the current day per project.
 * New limits keep what was counted, unless the window's length changes.
 */
export function createQuota(options: QuotaLimits): Quota {
  let limits = options;
  let windows = new Map<string, SlidingWindow>();
  const days = new Map<string, DayCount>();

  const windowOf = (key: string): SlidingWindow => {
    let window = windows.get(key);
    if (!window) {
      window = createSlidingWindow(limits.windowSeconds * 1000);
      windows.set(key, window);
    }
    return window;
  };
  const dayOf = (project: string, atMs: number): DayCount => {
    let count = days.get(project);
    if (!count || atMs >= count.untilMs) {
      count = { untilMs: endOfDay(atMs, limits.dayTimeZone), count: 0 };
      days.set(project, count);
    }
    return count;
  };

  return {
    admit({ project, quotaUser, operation, atMs }) {
      if (!isLimited(limits)) return undefined;
      const weight = limits.weights[operation] ?? 1;
      const projectWindow = windowOf(project);
      const userWindow = windowOf(`${project}\n${quotaUser}`);
      const day = limits.perDay === undefined ? undefined : dayOf(project, atMs);
      const refusedBy = refusalOf(
        {
          project: projectWindow.total(atMs) + weight,
          user: userWindow.total(atMs) + weight,
          day: (day?.count ?? 0) + 1,
        },
        limits,
      );
      if (refusedBy === undefined || limits.countsRejected) {
        projectWindow.add(atMs, weight);
        userWindow.add(atMs, weight);
        if (day) day.count += 1;
      }
      return refusedBy;
    },
    limits: () => limits,
    setLimits(changed) {
      const before = limits.windowSeconds;
      limits = { ...limits, ...changed };
      if (limits.windowSeconds !== before) windows = new Map();
    },
    used: (nowMs, project) => ({
      window: windows.get(project)?.total(nowMs) ?? 0,
      day: limits.perDay === undefined ? 0 : dayOf(project, nowMs).count,
    }),
  };
}

interface DayCount {
  readonly untilMs: number;
  count: number;
}

function endOfDay(atMs: number, zone: string): number {
  const day = Math.floor(utcToWallMs(atMs, zone) / DAY_MS);
  return wallToUtcMs((day + 1) * DAY_MS, zone);
}

/** Which limit these totals, the new request included, would pass. */
function refusalOf(
  totals: { readonly project: number; readonly user: number; readonly day: number },
  limits: QuotaLimits,
): QuotaScope | undefined {
  if (totals.project > (limits.projectPerWindow ?? Infinity)) return "project";
  if (totals.user > (limits.userPerWindow ?? Infinity)) return "quota-user";
  return totals.day > (limits.perDay ?? Infinity) ? "day" : undefined;
}

/** Google's own words for a refused request; by default only the message tells the two windows apart. */
export function quotaRefusal(
  scope: QuotaScope,
  limits: Pick<QuotaLimits, "rejectionStatus" | "userReason">,
  projectNumber: string,
): ErrorDetail {
  if (scope === "day") {
    return {
      status: 403,
      domain: "usageLimits",
      reason: "dailyLimitExceeded",
      message: "Daily Limit Exceeded. The quota will be reset at midnight Pacific Time (PT).",
    };
  }
  const limit = scope === "project" ? "Queries per minute" : "Queries per minute per user";
  return {
    status: limits.rejectionStatus,
    domain: "usageLimits",
    reason: scope === "project" ? "rateLimitExceeded" : limits.userReason,
    message: `Quota exceeded for quota metric 'Queries' and limit '${limit}' of service 'calendar-json.googleapis.com' for consumer 'project_number:${projectNumber}'.`,
  };
}

function isLimited(limits: QuotaLimits): boolean {
  return (
    limits.projectPerWindow !== undefined ||
    limits.userPerWindow !== undefined ||
    limits.perDay !== undefined
  );
}
