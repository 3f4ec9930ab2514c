import type { AccountStore } from "../core/account-store.ts";
import type { Clock } from "../core/clock.ts";
import type { DeadGrants, WaveLimits } from "../core/dead-grants.ts";
import { failureCode } from "../core/failure.ts";
import type { OperatorLog } from "../core/operator-log.ts";
import type { Logger } from "../observability/logger.ts";
import type { AccountEffect } from "./settle-failure.ts";

/** Google's own advice knows no number: a few accounts within minutes are chance, a hundredth of them is not. */
const WAVE: WaveLimits = {
  windowMs: 5 * 60_000,
  accounts: 5,
  share: 0.01,
  probeEveryMs: 3 * 60_000,
};

/**
 * An account's credentials are no good any more: stop asking for it, and say so once, however many of
 * its calendars find out. A wave of them disconnects nobody: it is the project's trouble, or Google's.
 */
export function createReportAccount(deps: {
  readonly accounts: Pick<AccountStore, "markNeedsReconnect">;
  readonly deadGrants: Pick<DeadGrants, "report">;
  readonly operatorLog: OperatorLog;
  readonly logger: Logger;
  readonly clock: Clock;
}): (effect: AccountEffect) => Promise<void> {
  const { accounts, deadGrants, logger, clock } = deps;

  const isDisconnectedNow = async ({ accountId, reason }: AccountEffect): Promise<boolean> => {
    if (reason !== failureCode("credentials-revoked")) {
      return accounts.markNeedsReconnect(accountId, reason);
    }
    const answer = await deadGrants.report(accountId, { reason, now: clock.now(), limits: WAVE });
    if (answer === "hold-began") {
      logger.log(
        "error",
        "Many accounts' credentials are refused at once: nobody is disconnected",
        {
          code: reason,
          next: "docs/failure-modes.md, GCAL_CREDENTIALS_REVOKED; ballast resume disconnects",
        },
      );
    }
    return answer === "disconnected";
  };

  return async (effect) => {
    if (!(await isDisconnectedNow(effect))) return;
    const { accountId, reason } = effect;
    logger.log("warn", "Account needs to reconnect", { accountId, code: reason });
    await deps.operatorLog.append({
      at: clock.now(),
      actor: "ballast",
      action: "account.needs-reconnect",
      subject: accountId,
      reason,
      details: {},
    });
  };
}
