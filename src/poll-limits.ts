import { projectId } from "./core/ids.ts";
import type { SettingsStore } from "./core/settings-store.ts";
import { parseLedgerSettings, quotaSettingsPrefix } from "./quota/ledger-settings.ts";
import type { PollLimits } from "./sync/plan-polls.ts";

const MINUTE_MS = 60_000;

/** The limits that polls are planned by: the ledger's own, as they are in force. */
export async function readPollLimits(
  settings: Pick<SettingsStore, "list">,
  project: string = projectId("default"),
): Promise<PollLimits> {
  const rows = await settings.list(quotaSettingsPrefix(project));
  const { perDay, projectPerMinute, windowMs, dayReserve, classReserve } = parseLedgerSettings(
    project,
    rows,
  ).settings;
  return {
    perDay,
    perMinute: (projectPerMinute * MINUTE_MS) / windowMs,
    dayReserve: dayReserve.poll ?? 0,
    minuteReserve: classReserve.poll ?? 0,
  };
}
