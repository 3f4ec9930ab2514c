/** Composition root of what commands tell about polls: the plan's arithmetic, and one calendar's share of it. */
import type { Config } from "./config/config.ts";
import { PROJECT } from "./app-parts.ts";
import type { Clock } from "./core/clock.ts";
import type { CalendarId } from "./core/ids.ts";
import type { PollPast } from "./core/poll-store.ts";
import { readPollLimits } from "./poll-limits.ts";
import { LISTS_INTERVAL_MS } from "./start-polls.ts";
import type { Store } from "./store/open-store.ts";
import {
  intervalOf,
  isPolled,
  parsePollPlan,
  planPolls,
  type PollIntervals,
  type PollPlan,
} from "./sync/plan-polls.ts";

type PollConfig = Pick<Config, "pollIntervalMs" | "safetyPollMs">;

/** The arithmetic as of now, and the plan that running processes go by; undefined: none has made one yet. */
export async function readPollPlans(
  config: PollConfig,
  deps: { readonly store: Store; readonly clock: Clock },
): Promise<{ readonly now: PollPlan; readonly inForce: PollPlan | undefined }> {
  const { store, clock } = deps;
  const at = clock.now();
  const inForce = parsePollPlan(await store.polls.plan(PROJECT));
  const [census, limits] = await Promise.all([
    store.polls.census(PROJECT, at),
    readPollLimits(store.settings, PROJECT),
  ]);
  const intervals = intervalsOf(config, inForce);
  return { now: planPolls({ census, limits, intervals }, at), inForce };
}

/** How often one calendar is polled, and why. */
export interface PolledCalendar extends PollPast {
  /** Give or take a quarter; undefined where it waits for something else than its poll. */
  readonly everyMs: number | undefined;
}

/** What decides when a calendar is polled. Undefined: there is no such calendar. */
export async function readPolled(
  id: CalendarId,
  config: PollConfig,
  store: Store,
): Promise<PolledCalendar | undefined> {
  const past = await store.polls.of(id);
  if (past === undefined) return undefined;
  const plan = parsePollPlan(await store.polls.plan(PROJECT));
  const intervals = intervalsOf(config, plan);
  const everyMs = isPolled(past.kind) ? intervalOf(past.kind, { plan, intervals }) : undefined;
  return { ...past, everyMs };
}

/** The running service's intervals, where they differ from this command's environment. */
function intervalsOf(
  { pollIntervalMs, safetyPollMs }: PollConfig,
  inForce: PollPlan | undefined,
): PollIntervals {
  const baseOf = (kind: string): number | undefined =>
    inForce?.kinds.find((one) => one.kind === kind)?.baseMs;
  return {
    pollMs: baseOf("active") ?? pollIntervalMs,
    safetyMs: baseOf("live") ?? safetyPollMs,
    listsMs: LISTS_INTERVAL_MS,
  };
}
