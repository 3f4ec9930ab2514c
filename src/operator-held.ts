import type { CalendarRow } from "./core/calendar-store.ts";
import type { Clock } from "./core/clock.ts";
import type { QuotaStatus } from "./core/quota-status.ts";
import { pauseSettingsPrefix } from "./core/settings-store.ts";
import { parseLedgerSettings } from "./quota/ledger-settings.ts";
import type { Store } from "./store/open-store.ts";

/**
 * What keeps a claimer from taking a calendar that is due, as far as pauses and the budget can tell: the claim
 * leaves its row as it is, so the row does not say. Undefined: nothing that is known here.
 */
export async function whatHolds(
  { projectId, tenantId, dueClass }: Pick<CalendarRow, "projectId" | "tenantId" | "dueClass">,
  consumer: string,
  deps: {
    readonly store: Pick<Store, "settings">;
    readonly clock: Clock;
    readonly readQuota: () => Promise<QuotaStatus | undefined>;
  },
): Promise<string | undefined> {
  const rows = await deps.store.settings.list(pauseSettingsPrefix(projectId));
  const { pauses } = parseLedgerSettings(projectId, rows).settings;
  const targets = [
    "project",
    `class:${dueClass}`,
    "operation:events.list",
    `consumer:${consumer}`,
    `tenant:${tenantId}`,
  ];
  for (const target of targets) {
    const pause = pauses[target];
    if (pause !== undefined && (pause.endsAt === 0 || pause.endsAt > deps.clock.now())) {
      return `${target} is paused${pause.reason === "" ? "" : ` (${pause.reason})`}`;
    }
  }
  return heldByBudget(await deps.readQuota());
}

function heldByBudget(quota: QuotaStatus | undefined): string | undefined {
  if (quota === undefined) return undefined;
  if (quota.stop !== undefined) return `Google refuses the whole project (${quota.stop.reason})`;
  if (quota.breakers.some(({ upstream }) => upstream === "calendar")) {
    return "the breaker is open, since Google's API fails";
  }
  return quota.day.used >= quota.day.limit ? "the day's requests are spent" : undefined;
}
