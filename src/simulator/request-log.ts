import { createHash } from "node:crypto";
import { createSlidingWindow } from "./sliding-window.ts";
import type { SlidingWindow } from "./sliding-window.ts";

/** One request, as it came and as it was answered. */
export interface LoggedRequest {
  readonly sequence: number;
  readonly atMs: number;
  readonly operation: string;
  /** The account's address; empty when the request said nobody's. */
  readonly account: string;
  readonly project: string;
  readonly calendar: string;
  /** 0 when no status was sent: hung or reset. */
  readonly status: number;
  readonly outcome: RequestOutcome;
  readonly reason: string;
}

/** What became of a request. `rejected` is our own quota's refusal, `injected` a fault's, `refused` Google's other errors. */
export type RequestOutcome = "ok" | "refused" | "rejected" | "injected" | "aborted";

/** Figures over all requests since the start (or the last reset). */
export interface Counters {
  readonly arrivals: number;
  readonly tokenRequests: number;
  readonly unattributed: number;
  readonly byOperation: Readonly<Record<string, number>>;
  readonly byOutcome: Readonly<Record<string, number>>;
  readonly byStatus: Readonly<Record<string, number>>;
  readonly byReason: Readonly<Record<string, number>>;
  readonly byAccount: Readonly<Record<string, number>>;
  /** Refusals by the simulator's own limits, by scope; injected ones are under `byOutcome`. */
  readonly rejectedByLimit: Readonly<Record<string, number>>;
  readonly windowSeconds: number;
  /** The most arrivals any sliding window held, weights aside. */
  readonly mostArrivals: {
    readonly project: number;
    readonly quotaUser: number;
    readonly byProject: Readonly<Record<string, number>>;
    readonly byQuotaUser: Readonly<Record<string, number>>;
  };
  readonly logHash: string;
}

/** The request log. Arrivals are counted as they come, so that the figures are exact however long it runs. */
export interface RequestLog {
  /** Note an arrival at the API; counts it in its windows. */
  arrive(arrival: {
    readonly atMs: number;
    readonly project: string;
    readonly quotaUser: string;
  }): void;
  /** Note what became of a request. */
  finish(request: Omit<LoggedRequest, "sequence">): void;
  rejectedBy(scope: string): void;
  counters(): Counters;
  /** Finished requests after this sequence number, oldest first; older ones than the last `keep` are gone. */
  after(sequence: number, limit: number): readonly LoggedRequest[];
  /** A hash over everything that two runs of one seed must have in common. */
  hash(): string;
  reset(): void;
}

const MAX_ACCOUNTS_REPORTED = 10_000;

/**
 * Create an empty log.
 *
 * State: the last `keep` requests in a ring, counts by several keys, one exact window per project and quota user, and a
 * running hash. Memory is bounded by the busiest window, never by time.
 */
export function createRequestLog(options: {
  readonly keep: number;
  readonly windowSeconds: () => number;
}): RequestLog {
  const ring: LoggedRequest[] = [];
  let sequence = 0;
  let hash = createHash("sha256");
  let counts = emptyCounts();
  let windowSeconds = options.windowSeconds();

  const windowAt = (windows: Map<string, SlidingWindow>, key: string): SlidingWindow => {
    let window = windows.get(key);
    if (!window) {
      window = createSlidingWindow(windowSeconds * 1000);
      windows.set(key, window);
    }
    return window;
  };

  return {
    arrive({ atMs, project, quotaUser }) {
      if (windowSeconds !== options.windowSeconds()) {
        // Windows of another length cannot be compared: those figures begin anew.
        windowSeconds = options.windowSeconds();
        counts.projectWindows.clear();
        counts.userWindows.clear();
      }
      counts.arrivals += 1;
      windowAt(counts.projectWindows, project).add(atMs, 1);
      if (quotaUser === "") counts.unattributed += 1;
      else windowAt(counts.userWindows, `${project}\n${quotaUser}`).add(atMs, 1);
    },
    finish(request) {
      sequence += 1;
      ring[(sequence - 1) % options.keep] = { sequence, ...request };
      hash.update(
        `${request.operation}|${request.account}|${request.calendar}|${request.status}|${request.outcome}|${request.reason}\n`,
      );
      if (request.operation.startsWith("oauth.")) counts.tokenRequests += 1;
      bump(counts.byOperation, request.operation);
      bump(counts.byOutcome, request.outcome);
      bump(counts.byStatus, String(request.status));
      if (request.reason !== "") bump(counts.byReason, request.reason);
      if (request.account !== "") bump(counts.byAccount, request.account);
    },
    rejectedBy(scope) {
      bump(counts.rejectedByLimit, scope);
    },
    counters: () => report(counts, windowSeconds, hash.copy().digest("hex")),
    after(from, limit) {
      const first = Math.max(from, sequence - options.keep);
      const requests: LoggedRequest[] = [];
      for (let at = first; at < sequence && requests.length < limit; at++) {
        const request = ring[at % options.keep];
        if (request) requests.push(request);
      }
      return requests;
    },
    hash: () => hash.copy().digest("hex"),
    reset() {
      ring.length = 0;
      sequence = 0;
      hash = createHash("sha256");
      counts = emptyCounts();
    },
  };
}

interface Counts {
  arrivals: number;
  tokenRequests: number;
  unattributed: number;
  readonly byOperation: Map<string, number>;
  readonly byOutcome: Map<string, number>;
  readonly byStatus: Map<string, number>;
  readonly byReason: Map<string, number>;
  readonly byAccount: Map<string, number>;
  readonly rejectedByLimit: Map<string, number>;
  readonly projectWindows: Map<string, SlidingWindow>;
  readonly userWindows: Map<string, SlidingWindow>;
}

function emptyCounts(): Counts {
  return {
    arrivals: 0,
    tokenRequests: 0,
    unattributed: 0,
    byOperation: new Map(),
    byOutcome: new Map(),
    byStatus: new Map(),
    byReason: new Map(),
    byAccount: new Map(),
    rejectedByLimit: new Map(),
    projectWindows: new Map(),
    userWindows: new Map(),
  };
}

function bump(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function report(counts: Counts, windowSeconds: number, logHash: string): Counters {
  const byProject = peaks(counts.projectWindows);
  const byQuotaUser = userPeaks(counts.userWindows);
  return {
    arrivals: counts.arrivals,
    tokenRequests: counts.tokenRequests,
    unattributed: counts.unattributed,
    byOperation: Object.fromEntries(counts.byOperation),
    byOutcome: Object.fromEntries(counts.byOutcome),
    byStatus: Object.fromEntries(counts.byStatus),
    byReason: Object.fromEntries(counts.byReason),
    byAccount: Object.fromEntries(counts.byAccount.entries().take(MAX_ACCOUNTS_REPORTED)),
    rejectedByLimit: Object.fromEntries(counts.rejectedByLimit),
    windowSeconds,
    mostArrivals: {
      project: Math.max(0, ...Object.values(byProject)),
      quotaUser: Object.values(byQuotaUser).reduce((most, one) => Math.max(most, one), 0),
      byProject,
      byQuotaUser: Object.fromEntries(
        Object.entries(byQuotaUser)
          .toSorted(([, left], [, right]) => right - left)
          .slice(0, MAX_ACCOUNTS_REPORTED),
      ),
    },
    logHash,
  };
}

/** A quota user's busiest window in any one project: the limit holds per project. */
function userPeaks(windows: Map<string, SlidingWindow>): Record<string, number> {
  const byUser: Record<string, number> = {};
  for (const [key, window] of windows) {
    const user = key.slice(key.indexOf("\n") + 1);
    byUser[user] = Math.max(byUser[user] ?? 0, window.peak());
  }
  return byUser;
}

function peaks(windows: Map<string, SlidingWindow>): Record<string, number> {
  return Object.fromEntries([...windows].map(([key, window]) => [key, window.peak()]));
}
