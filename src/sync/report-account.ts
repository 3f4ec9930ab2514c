import type { AccountStore } from "../core/account-store.ts";
import type { Clock } from "../core/clock.ts";
import type { DeadGrants, WaveLimits } from "../core/dead-grants.ts";
import { failureCode } from "../core/failure.ts";
import type { ProjectTroubles } from "../core/project-troubles.ts";
import type { OperatorLog } from "../core/operator-log.ts";
import type { Logger } from "../observability/logger.ts";
import type { Metrics } from "../observability/metrics.ts";
import type { AccountEffect } from "./account-effect.ts";

/** Google's own advice knows no number: a few accounts within minutes are chance, a hundredth of them is not. */
const WAVE: WaveLimits = {
  windowMs: 5 * 60_000,
  accounts: 5,
  share: 0.01,
  probeEveryMs: 3 * 60_000,
};

export interface ReportAccountDeps {
  readonly accounts: Pick<AccountStore, "markNeedsReconnect">;
  readonly deadGrants: Pick<DeadGrants, "report">;
  readonly projectTroubles: Pick<ProjectTroubles, "report">;
  readonly operatorLog: Pick<OperatorLog, "append">;
  readonly metrics: Pick<Metrics, "accountDisconnected" | "projectAlarmed">;
  readonly logger: Logger;
  readonly clock: Clock;
}

/**
 * An account's credentials are no good any more: stop asking for it, and say so once, however many of
 * its calendars find out. A wave of them disconnects nobody: it is the project's trouble, or Google's.
 * So is a client that Google does not accept, and a clock that is off: told once while it lasts.
 */
export function createReportAccount(
  deps: ReportAccountDeps,
): (effect: AccountEffect) => Promise<void> {
  return (effect) =>
    effect.kind === "needs-reconnect" ? reportAccount(effect, deps) : reportProject(effect, deps);
}

type Of<Kind extends AccountEffect["kind"]> = Extract<AccountEffect, { readonly kind: Kind }>;

async function reportAccount(
  effect: Of<"needs-reconnect">,
  deps: ReportAccountDeps,
): Promise<void> {
  if (!(await isDisconnectedNow(effect, deps))) return;
  const { accountId, reason } = effect;
  deps.metrics.accountDisconnected(reason);
  deps.logger.log("warn", "Account needs to reconnect", { accountId, code: reason });
  await deps.operatorLog.append({
    at: deps.clock.now(),
    actor: "ballast",
    action: "account.needs-reconnect",
    subject: accountId,
    reason,
    details: {},
  });
}

async function isDisconnectedNow(
  { accountId, reason }: Of<"needs-reconnect">,
  { accounts, deadGrants, metrics, logger, clock }: ReportAccountDeps,
): Promise<boolean> {
  if (reason !== failureCode("credentials-revoked")) {
    return accounts.markNeedsReconnect(accountId, reason);
  }
  const answer = await deadGrants.report(accountId, { reason, now: clock.now(), limits: WAVE });
  if (answer === "hold-began") {
    metrics.projectAlarmed(reason);
    logger.log("error", "Many accounts' credentials are refused at once: nobody is disconnected", {
      code: reason,
      next: "docs/failure-modes.md, GCAL_CREDENTIALS_REVOKED; ballast resume disconnects",
    });
  }
  return answer === "disconnected";
}

async function reportProject(
  { accountId, reason, detail }: Of<"project-trouble">,
  { projectTroubles, metrics, logger, clock, operatorLog }: ReportAccountDeps,
): Promise<void> {
  const now = clock.now();
  const answer = await projectTroubles.report(accountId, { code: reason, detail, now });
  if (answer === "known") return;
  metrics.projectAlarmed(reason);
  logger.log(
    "error",
    reason === failureCode("clock-skewed")
      ? "This machine's clock is off, so Google refuses service accounts: nobody is disconnected"
      : "Google does not accept this project's OAuth client or service account: nobody is disconnected",
    { code: reason, detail, next: `docs/failure-modes.md, ${reason}; ballast doctor` },
  );
  await operatorLog.append({
    at: now,
    actor: "ballast",
    action: "project.alarmed",
    subject: reason,
    reason: detail,
    details: { firstAccount: accountId },
  });
}
