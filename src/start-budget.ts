import type { Config } from "./config/config.ts";
import type { Clock } from "./core/clock.ts";
import type { ProjectId } from "./core/ids.ts";
import { Refused } from "./core/refusal.ts";
import type { Logger } from "./observability/logger.ts";
import type { LedgerEvent } from "./quota/ledger-opener.ts";
import { quotaSettingsPrefix } from "./quota/ledger-settings.ts";
import { openBudget, type Budget } from "./quota/open-budget.ts";
import type { RequestObserver } from "./quota/request-observer.ts";
import { createUsageRecorder } from "./quota/usage-recorder.ts";
import type { Store } from "./store/open-store.ts";

const LEDGER_TROUBLE_QUIET_MS = 2_000;
const LEDGER_TROUBLE_EVERY_MS = 10_000;

interface BudgetDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onRedisError: (error: Error) => void;
}

/** The budget of a process that has the database, with the record of who uses it. */
export interface RecordedBudget extends Budget {
  /** Tell it of every request of this process. */
  readonly usage: RequestObserver;
}

/** Seed the limits where there are none, open the ledger, and begin to record. */
export async function startBudget(
  options: {
    readonly redis: string;
    readonly projectId: ProjectId;
    readonly quota: Config["quota"];
  },
  deps: BudgetDeps,
): Promise<RecordedBudget> {
  const { store, clock } = deps;
  await seedLimits(options, deps);
  const budget = openBudget(options, {
    clock,
    record: store.ledgerRecord,
    settings: store.settings,
    onLedgerEvent: tellLedgerEvents(deps),
    onRedisError: deps.onRedisError,
  });
  const usage = createUsageRecorder(options, {
    ledger: budget.ledger,
    usage: store.usage,
    clock,
    onTrouble: tellUsageTrouble(deps),
  });
  return {
    ...budget,
    usage,
    close: async () => {
      await budget.broker.close();
      await usage.close();
      await budget.close();
    },
  };
}

/** Quota values of the environment seed an empty database; later ones differ only to be reported. */
async function seedLimits(
  { quota, projectId }: { readonly quota: Config["quota"]; readonly projectId: ProjectId },
  { store, clock, logger }: BudgetDeps,
): Promise<void> {
  const prefix = quotaSettingsPrefix(projectId);
  const wanted: Readonly<Record<string, number>> = {
    [`${prefix}projectPerMinute`]: quota.projectPerMinute,
    [`${prefix}userPerMinute`]: quota.userPerMinute,
    [`${prefix}perDay`]: quota.perDay,
    [`${prefix}windowMs`]: quota.windowMs,
  };
  await store.settings.seed(wanted, clock.now());
  for (const [name, value] of Object.entries(wanted)) {
    const inForce = await store.settings.get(name);
    if (inForce !== value) {
      logger.log("warn", "The environment's quota differs from the setting in force", {
        setting: name,
        environment: value,
        inForce,
      });
    }
  }
}

/** A first look that comes before the connection is up is no news; trouble that lasts is, once a while. */
function tellLedgerEvents({ logger, clock }: BudgetDeps): (event: LedgerEvent) => void {
  let quietUntilMs = clock.monotonicMs() + LEDGER_TROUBLE_QUIET_MS;
  return (event) => {
    if (event.kind === "project-stopped") {
      logger.log("error", "Google refuses the whole project; nothing is sent", event);
      return;
    }
    if (event.kind === "trouble") {
      const nowMs = clock.monotonicMs();
      if (nowMs < quietUntilMs) return;
      quietUntilMs = nowMs + LEDGER_TROUBLE_EVERY_MS;
    }
    logger.log(event.kind === "opened" ? "info" : "warn", "Quota ledger", { ...event });
  };
}

/** That Redis or the database is away is told by those who need them more. */
function tellUsageTrouble({ logger }: BudgetDeps): (error: unknown) => void {
  return (error) => {
    if (error instanceof Refused) return;
    logger.log("warn", "Who uses the quota could not be recorded", { error });
  };
}
