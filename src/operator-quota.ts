/** Composition root of `ballast quota`: reads how the budget stands, changes one setting. */
import { epochMs, type Clock } from "./core/clock.ts";
import { projectId } from "./core/ids.ts";
import type { QuotaStatus } from "./core/quota-status.ts";
import { reportQuota, type QuotaReport } from "./operate/quota-report.ts";
import { openRedis } from "./queue/redis-connection.ts";
import { createLedger } from "./quota/ledger.ts";
import { readQuotaStatus } from "./quota/quota-status.ts";
import { DAY_TIME_ZONE, dayTurns } from "./quota/day-turns.ts";
import { parseLedgerSettings, quotaSettingsPrefix } from "./quota/ledger-settings.ts";
import { planSetting, type SettingAsk, type SettingPlan } from "./quota/plan-setting.ts";
import type { Store } from "./store/open-store.ts";

/** There is one project for now. */
const PROJECT = projectId("default");
const HOUR_MS = 3_600_000;

/** How the budget stands and who used it, as far as the database and `readQuota` (a running process) can say. */
export async function readQuotaReport(
  options: { readonly hours: number; readonly mostSpenders: number },
  deps: {
    readonly store: Store;
    readonly clock: Clock;
    readonly readQuota: () => Promise<QuotaStatus | undefined>;
  },
): Promise<QuotaReport> {
  const { store, clock } = deps;
  const { perDay } = parseLedgerSettings(PROJECT, await rowsOf(store)).settings;
  const { startedAt, turns } = dayTurns(clock.now(), { timeZone: DAY_TIME_ZONE, count: 1 });
  return reportQuota(
    {
      projectId: PROJECT,
      perDay,
      day: { startedAt: epochMs(startedAt), endsAt: epochMs(turns[0] ?? startedAt + 24 * HOUR_MS) },
      spentWithinMs: options.hours * HOUR_MS,
      mostSpenders: options.mostSpenders,
    },
    { ...store, clock, readQuota: deps.readQuota },
  );
}

const LEDGER_TIMEOUT_MS = 3_000;
const LEDGER_LOOK_MS = 20;

/**
 * The budget as the ledger itself sees it, for a fleet of workers that answers no HTTP. Only looks: it joins no
 * roster and holds nobody up. Undefined: no Redis is configured, it cannot be asked, or the ledger is not open.
 */
export async function askLedger(
  redisUrl: string | undefined,
  deps: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<QuotaStatus | undefined> {
  if (redisUrl === undefined) return undefined;
  const redis = openRedis(redisUrl, { maxRetriesPerRequest: 0 }, ignore);
  const ledger = createLedger({ projectId: PROJECT }, { redis, clock: deps.clock });
  const untilMs = deps.clock.monotonicMs() + LEDGER_TIMEOUT_MS;
  try {
    while (deps.clock.monotonicMs() < untilMs) {
      const answer = await readQuotaStatus(ledger, deps.clock).catch(ignore);
      if (answer !== undefined) return answer === "opening" ? undefined : answer;
      // Its connection queues nothing while it is being made.
      await deps.clock.sleep(LEDGER_LOOK_MS, deps.signal);
    }
    return undefined;
  } finally {
    ledger.close();
    redis.disconnect();
  }
}

/** Why it cannot be asked is `ballast doctor`'s to say. */
function ignore(): undefined {
  return undefined;
}

/** Check a change and, unless it is only a plan, write it with its record. Running processes see it within 2 s. */
export async function changeQuotaSetting(
  ask: SettingAsk & { readonly isPlan: boolean },
  deps: {
    readonly store: Store;
    readonly clock: Clock;
    readonly by: { readonly actor: string; readonly reason: string };
  },
): Promise<SettingPlan> {
  const { store, clock, by } = deps;
  const plan = planSetting(PROJECT, await rowsOf(store), ask);
  if (plan.kind === "planned" && !ask.isPlan) {
    await store.settings.set(plan.row, plan.value, { ...by, now: clock.now() });
  }
  return plan;
}

/** What backfills may send in a day: their part of the day, and of each minute. */
export async function readBackfillAllowance(
  store: Store,
): Promise<{ readonly perDay: number; readonly share: number }> {
  const { settings } = parseLedgerSettings(PROJECT, await rowsOf(store));
  const { perDay, dayReserve, projectPerMinute, windowMs, backfillShare } = settings;
  const windows = (24 * HOUR_MS) / windowMs;
  const ofWindows = projectPerMinute * backfillShare * windows;
  const allowed = Math.floor(Math.min(perDay * (1 - (dayReserve.backfill ?? 0)), ofWindows));
  return { perDay: allowed, share: allowed / perDay };
}

function rowsOf(store: Store): ReturnType<Store["settings"]["list"]> {
  return store.settings.list(quotaSettingsPrefix(PROJECT));
}
