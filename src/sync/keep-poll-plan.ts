/**
 * Keeps the plan of polls that all processes share.
 *
 * States: looking (is it my turn? then count, plan, keep; else take what another kept) → resting → … →
 * stopped. One process in ten minutes counts. Until the first look a process polls as configured.
 *
 * Whoever planned also brings forward the polls of calendars that rest on their channels in vain: while nothing
 * reaches us (no public address any more, or a silent push path), and after nobody listened for a while. As many
 * as the budget lets be polled until the next plan.
 */
import { epochMs, type Clock, type EpochMs } from "../core/clock.ts";
import type { ProjectId } from "../core/ids.ts";
import type { PlanPoll, PollKind, PollStore } from "../core/poll-store.ts";
import { StoreUnavailable } from "../core/refusal.ts";
import {
  createPlanPoll,
  intervalOf,
  parsePollPlan,
  planPolls,
  type PollIntervals,
  type PollLimits,
  type PollPlan,
} from "./plan-polls.ts";
import { nextPollAt, type Random } from "./schedule.ts";

const PLAN_EVERY_MS = 10 * 60_000;
const LOOK_EVERY_MS = 60_000;
const DAY_MS = 86_400_000;
/** At least, where the budget is very small; and at most, of one transaction. */
const LEAST_PULLED_IN = 1;
const MOST_PULLED_IN = 500;
/** An interval that moves by less is no news. */
const NEWS_SHARE = 0.1;

export interface PollPlanOptions {
  readonly projectId: ProjectId;
  readonly intervals: PollIntervals;
  /** Google can reach this service. */
  readonly hasPush: boolean;
}

export interface PollPlanDeps {
  readonly polls: PollStore;
  /** As they are in force now. */
  readonly limits: () => Promise<PollLimits>;
  readonly clock: Clock;
  readonly random: Random;
  readonly onError: (error: unknown) => void;
  /** Told when intervals are stretched otherwise than before, or push goes silent, or tells again. */
  readonly onNews: (plan: PollPlan) => void;
}

/** How often everything is polled, by the plan that the fleet shares. */
export interface PollPlans {
  readonly planPoll: PlanPoll;
  /** Between two looks at an account's list of calendars. */
  readonly listsIntervalMs: () => number;
  /** Look now. Rejects where the database does. */
  look(): Promise<void>;
  stop(): Promise<void>;
}

/** Begin to keep the plan. No error ends it; each but a lost database is told. */
export function startPollPlans(options: PollPlanOptions, deps: PollPlanDeps): PollPlans {
  const { intervals } = options;
  const { clock, random } = deps;
  const stopping = new AbortController();
  let plan: PollPlan | undefined;
  const planNow = (): PollPlan | undefined => plan;

  const look = async (): Promise<void> => {
    const before = plan;
    const made = await makePlan(options, deps);
    plan = made ?? parsePollPlan(await deps.polls.plan(options.projectId)) ?? plan;
    if (plan !== undefined && isNews(before, plan)) deps.onNews(plan);
    if (made !== undefined) await pullIn({ options, deps, plan: made, signal: stopping.signal });
  };

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        await look();
      } catch (error) {
        // Told by those who need it more; intervals stay as they are.
        if (!(error instanceof StoreUnavailable)) deps.onError(error);
      }
      // Woken by being stopped.
      await clock.sleep(LOOK_EVERY_MS, stopping.signal).catch(() => undefined);
    }
  };
  const ended = loop();

  return {
    planPoll: createPlanPoll(options, { plan: planNow, random }),
    listsIntervalMs: () => intervalOf("lists", { plan, intervals }),
    look,
    async stop() {
      stopping.abort();
      await ended;
    },
  };
}

/** A new plan, where it is this process's turn to make it. */
async function makePlan(
  { projectId, intervals }: PollPlanOptions,
  { polls, clock, limits }: PollPlanDeps,
): Promise<PollPlan | undefined> {
  const now = clock.now();
  if (!(await polls.takeTurn(projectId, { now, everyMs: PLAN_EVERY_MS }))) return undefined;
  const census = await polls.census(projectId, now);
  const made = planPolls({ census, limits: await limits(), intervals }, now);
  await polls.keepPlan(projectId, made);
  return made;
}

function isNews(before: PollPlan | undefined, plan: PollPlan): boolean {
  if ((before?.isPushSilent ?? false) !== plan.isPushSilent) return true;
  return plan.kinds.some(({ kind, baseMs, intervalMs }) => {
    const known = before?.kinds.find((one) => one.kind === kind)?.intervalMs ?? baseMs;
    return Math.abs(intervalMs - known) > known * NEWS_SHARE;
  });
}

async function pullIn(of: {
  readonly options: PollPlanOptions;
  readonly deps: PollPlanDeps;
  readonly plan: PollPlan;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { options, deps, plan, signal } = of;
  const { projectId, hasPush, intervals } = options;
  const { polls } = deps;
  // Each costs one poll more than was planned for: those may take what polls have until the next plan.
  let left = Math.max(LEAST_PULLED_IN, Math.floor((plan.forPolls * PLAN_EVERY_MS) / DAY_MS));
  const pullAll = async (
    kind: "active" | "unproven",
    pull: (pollBy: readonly EpochMs[]) => Promise<number | undefined>,
  ): Promise<void> => {
    const everyMs = intervalOf(kind, { plan, intervals });
    while (left > 0 && !signal.aborted) {
      const pollBy = timesWithin(everyMs, Math.min(left, MOST_PULLED_IN), deps);
      const pulled = await pull(pollBy);
      if (pulled === undefined) return;
      left -= pulled;
    }
  };
  const ofKind =
    (from: PollKind, to: "active" | "unproven") =>
    async (pollBy: readonly EpochMs[]): Promise<number | undefined> => {
      const pulled = await polls.pullIn(projectId, { from, to, pollBy });
      return pulled === 0 ? undefined : pulled;
    };
  if (!hasPush) {
    await pullAll("active", ofKind("live", "active"));
    await pullAll("active", ofKind("unproven", "active"));
    return;
  }
  if (plan.isPushSilent) await pullAll("unproven", ofKind("live", "unproven"));
  await pullAll("unproven", async (pollBy) => {
    const seen = await polls.pullInUnheard(projectId, pollBy);
    return seen?.pulled;
  });
}

/** Spread from now on, so that they do not come all at once. */
function timesWithin(
  everyMs: number,
  count: number,
  { clock, random }: Pick<PollPlanDeps, "clock" | "random">,
): readonly EpochMs[] {
  const now = clock.now();
  return Array.from({ length: count }, () => {
    const latest = nextPollAt(now, everyMs, random);
    return epochMs(Math.round(now + (latest - now) * random()));
  });
}
