/**
 * Numbers 1 and 7 against a server that is not ours: that one counts arrivals, this one drives the load through the
 * guarded client, token refreshes included, and tells what it sent and what was refused.
 */
import { createHash } from "node:crypto";
import { mostInAnyWindow, partOfLimitUsed } from "../../test/support/quota-fleet/count-arrivals.ts";
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";
import type { WorkAccount } from "../stacks/orders.ts";
import { runStack } from "../stacks/run-stack.ts";

const PROCESSES = 4;
const CALLERS = 40;
/** J and D, as everywhere but in tests. */
const SETTINGS = { useWithinMs: 500, transitMs: 1_000 };
/** Google's default of one quota user: with few accounts it binds before the project's. */
const USER_PER_MINUTE = 600;

/** Saturate it for a window to warm up and a window that is judged. */
export async function runForeign(
  options: BenchOptions,
  foreign: NonNullable<BenchOptions["foreign"]>,
): Promise<readonly NumberRow[]> {
  const windowMs = options.isShort ? 5_000 : 60_000;
  const limit = options.isShort
    ? 300
    : Math.min(10_000, USER_PER_MINUTE * foreign.refreshTokens.length);
  const accounts = foreign.refreshTokens.map((refreshToken, index): WorkAccount => ({
    tenant: `tenant-${index}`,
    name: `account-${index}`,
    refreshToken,
    // Google's `sub` is not known here; whoever counts by account sees the same users.
    quotaUser: createHash("sha256").update(refreshToken).digest("hex").slice(0, 32),
    calendarId: "primary",
  }));
  const runMs = windowMs * 2 + 8_000;
  const reports = await runStack({
    program: await obtainFleetRedis(),
    processes: PROCESSES,
    runMs,
    loadsOf: () =>
      accounts.map(({ tenant }) => ({
        tenant,
        outstanding: Math.max(1, Math.ceil(CALLERS / accounts.length)),
        fromMs: 0,
        toMs: runMs,
      })),
    settings: {
      ...SETTINGS,
      userPerMinute: options.isShort ? 300 : USER_PER_MINUTE,
      "consumer:bench": { cap: 1, classes: ["interactive"] },
    },
    orders: {
      stack: "ballast",
      class: "interactive",
      google: { apiRootUrl: foreign.apiRootUrl, tokenUrl: foreign.tokenUrl },
      accounts,
      limit,
      windowMs,
    },
  });
  const times = reports.flatMap(({ sentAtEpochMs }) => sentAtEpochMs).toSorted((a, b) => a - b);
  const rejected = reports.reduce((sum, report) => sum + report.rejected, 0);
  const tokenRequests = reports.reduce((sum, report) => sum + report.tokenRequests, 0);
  const failed = reports.flatMap(({ calls }) => calls).filter(({ isSuccess }) => !isSuccess).length;
  const most = mostInAnyWindow(times, windowMs);
  const used = partOfLimitUsed(times, { windowMs, limit });
  const seconds = windowMs / 1_000;
  for (const reason of new Set(reports.flatMap(({ reasons }) => reasons))) options.say(reason);
  return [
    {
      number: "1",
      measure: `most requests sent in any ${seconds} s, ${PROCESSES} processes, by our own clock`,
      stack: "ballast",
      goal: `≤ ${limit}, 0 rejected`,
      measured: `${most} of ${times.length} sent and ${tokenRequests} for tokens, ${rejected} rejected, ${failed} calls failed`,
      figures: { most, limit, sent: times.length, tokenRequests, rejected, failed },
      isMet: most <= limit && rejected === 0 && times.length > 0,
    },
    {
      number: "7",
      measure: `part of the limit that saturating interactive work uses, W ${seconds} s`,
      stack: "ballast",
      goal: "≥ 97 %",
      measured: `${(used * 100).toFixed(1)} %`,
      figures: { used },
      isMet: options.isShort ? undefined : used >= 0.97,
    },
  ];
}
