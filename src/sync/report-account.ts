import type { AccountStore } from "../core/account-store.ts";
import type { Clock } from "../core/clock.ts";
import type { OperatorLog } from "../core/operator-log.ts";
import type { Logger } from "../observability/logger.ts";
import type { AccountEffect } from "./settle-failure.ts";

/**
 * An account's credentials are no good any more: stop asking for it, and say so once, however many of
 * its calendars find out.
 */
export function createReportAccount(deps: {
  readonly accounts: AccountStore;
  readonly operatorLog: OperatorLog;
  readonly logger: Logger;
  readonly clock: Clock;
}): (effect: AccountEffect) => Promise<void> {
  return async ({ accountId, reason }) => {
    const isNews = await deps.accounts.markNeedsReconnect(accountId, reason);
    if (!isNews) return;
    deps.logger.log("warn", "Account needs to reconnect", { accountId, code: reason });
    await deps.operatorLog.append({
      at: deps.clock.now(),
      actor: "ballast",
      action: "account.needs-reconnect",
      subject: accountId,
      reason,
      details: {},
    });
  };
}
