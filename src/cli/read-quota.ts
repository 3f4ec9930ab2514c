import type { Config } from "../config/config.ts";
import type { Clock } from "../core/clock.ts";
import type { QuotaStatus } from "../core/quota-status.ts";
import { askLedger } from "../operator-quota.ts";
import { askRunning } from "./running-service.ts";

/** How the budget stands: by the ledger where Redis has an address, else by the service that runs here. */
export async function readQuota(
  config: Pick<Config, "dataDirectory" | "http" | "redisUrl">,
  { clock, interrupted }: { readonly clock: Clock; readonly interrupted: AbortSignal },
): Promise<QuotaStatus | undefined> {
  const told = await askLedger(config.redisUrl, { clock, signal: interrupted });
  return told ?? askRunning(config, interrupted);
}
