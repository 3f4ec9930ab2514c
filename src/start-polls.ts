import { PROJECT, tellTrouble, type Starting } from "./app-parts.ts";
import { readPollLimits } from "./poll-limits.ts";
import type { Store } from "./store/open-store.ts";
import { startPollPlans, type PollPlans } from "./sync/keep-poll-plan.ts";
import type { PollPlan } from "./sync/plan-polls.ts";

/** How often an account's list of calendars is read where the budget allows it. */
export const LISTS_INTERVAL_MS = 6 * 3_600_000;

/** The part of a worker that decides how often everything is polled. */
export function startPolls(
  { config, deps, started }: Starting,
  { store, hasPush }: { readonly store: Store; readonly hasPush: boolean },
): PollPlans {
  const { pollIntervalMs: pollMs, safetyPollMs: safetyMs } = config;
  const plans = startPollPlans(
    {
      projectId: PROJECT,
      intervals: { pollMs, safetyMs, listsMs: LISTS_INTERVAL_MS },
      hasPush,
    },
    {
      polls: store.polls,
      limits: () => readPollLimits(store.settings, PROJECT),
      clock: deps.clock,
      random: Math.random,
      onError: tellTrouble(deps, "Polls could not be planned"),
      onNews: ({ factor, isPushSilent }: PollPlan) => {
        const level = isPushSilent ? "warn" : "info";
        deps.logger.log(level, "Polls are planned anew", { stretched: factor, isPushSilent });
      },
    },
  );
  started.push({ name: "poll plan", run: () => plans.stop() });
  return plans;
}
