import { z } from "zod";
import { epochMs, type EpochMs } from "../core/clock.ts";
import type { PollCensus, PollFacts, PollKind, PlanPoll } from "../core/poll-store.ts";
import { nextPollAt, SLOWED_INTERVAL_MS, type Random } from "./schedule.ts";

/*
 * How often calendars are polled, so that a day's polls fit into what the day has left for them, whatever
 * there is to poll. First those that can wait are polled more rarely, up to a day; then those whose changes polls
 * alone find, up to a quarter of a safety poll's interval; if that is not enough, every interval is stretched by one
 * factor. Due times that were given before are kept: a plan holds from the next
 * poll of each calendar on, and until then the ledger alone keeps the limit.
 */

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Google's default life of a channel, where none has been answered yet. */
const CHANNEL_LIFE_MS = 7 * DAY_MS;
/** A channel is renewed when 15 % of its life is left: opened anew, and the old one stopped. */
const LIFE_USED = 0.85;
const REQUESTS_PER_RENEWAL = 2;
/** Retries are at most a tenth of successes (I3); further pages of a poll are rarer than that. */
const EXTRA_PER_REQUEST = 0.1;
/** Polls never stop: where nothing is left for them they have this part of the day, after everything else. */
const LEAST_SHARE = 0.01;

/** Changes this recent let more be expected. */
const CHANGED_LATELY_MS = 7 * DAY_MS;
const READ_LATELY_MS = 2 * DAY_MS;
/** A channel open for so long that polls have not contradicted counts as alive although it had nothing to tell. */
const PROVEN_AFTER_MS = DAY_MS;
/** So many channels replaced for their silence, and none of the new ones tells: then nothing reaches us at all. */
const SILENT_PATH_FROM = 5;

/** What is polled, calendars by kind and the lists of accounts' calendars. */
export type PolledKind = Exclude<PollKind, "first" | "slowed"> | "lists";

/** The configured intervals that the others follow from. */
export interface PollIntervals {
  /** Of a calendar whose changes only polls find. */
  readonly pollMs: number;
  /** Of a calendar whose channel tells. */
  readonly safetyMs: number;
  /** Of an account's list of calendars. */
  readonly listsMs: number;
}

/** What the project has, and what polls leave of it to those above them. */
export interface PollLimits {
  readonly perDay: number;
  readonly perMinute: number;
  readonly dayReserve: number;
  readonly minuteReserve: number;
}

const planSchema = z.object({
  at: z.number(),
  kinds: z.array(
    z.object({
      kind: z.enum(["live", "unproven", "active", "idle", "unwatchable", "lists"]),
      count: z.number(),
      /** As configured. */
      baseMs: z.number(),
      /** As the budget allows; give or take a quarter. */
      intervalMs: z.number(),
      requestsPerDay: z.number(),
    }),
  ),
  /** Calendars never published yet: each is read once, in what is left. */
  neverRead: z.number(),
  slowed: z.object({ count: z.number(), requestsPerDay: z.number() }),
  renewals: z.object({
    channels: z.number(),
    lifeMs: z.number(),
    requestsPerDay: z.number(),
  }),
  /** Of each day, whichever of the day's and the minute's limit is the smaller one. */
  limit: z.object({ perDay: z.number(), boundBy: z.enum(["day", "minute"]) }),
  /** For people, notifications and backfills of other consumers. */
  reserve: z.number(),
  /** For retries and further pages. */
  extra: z.number(),
  /** What polls may use, and what they come to. */
  forPolls: z.number(),
  polls: z.number(),
  /** Everything above. */
  sum: z.number(),
  left: z.number(),
  /** By how much every interval is stretched, after those that may give way have done so. */
  factor: z.number(),
  /** Nothing that Google sends seems to arrive: no channel counts as alive. */
  isPushSilent: z.boolean(),
});

/** How often each kind is polled from now on, with the arithmetic behind it. */
export type PollPlan = z.output<typeof planSchema>;

/** A plan as another process kept it; undefined: it is not one that this build can read. */
export function parsePollPlan(kept: unknown): PollPlan | undefined {
  return planSchema.safeParse(kept).data;
}

interface Range {
  readonly baseMs: number;
  /** How rarely it may be polled before all are. */
  readonly patientMs: number;
  /** Those that can wait give way first. */
  readonly isPatient: boolean;
}

function rangesOf({ pollMs, safetyMs, listsMs }: PollIntervals): Record<PolledKind, Range> {
  const patient = (baseMs: number, mostMs = DAY_MS): Range => ({
    baseMs,
    patientMs: Math.max(baseMs, mostMs),
    isPatient: true,
  });
  const rarely = patient(Math.max(pollMs, Math.min(4 * pollMs, DAY_MS)));
  const unprovenMs = unprovenIntervalMs({ pollMs, safetyMs });
  return {
    live: { ...patient(safetyMs, safetyMs), isPatient: false },
    unproven: patient(unprovenMs, safetyMs),
    active: { ...patient(pollMs, safetyMs / 4), isPatient: false },
    idle: rarely,
    unwatchable: rarely,
    lists: patient(listsMs),
  };
}

/** How often a calendar is polled whose channel has not proven anything yet. */
export function unprovenIntervalMs(intervals: Pick<PollIntervals, "pollMs" | "safetyMs">): number {
  return Math.min(4 * intervals.pollMs, intervals.safetyMs);
}

const KINDS = ["live", "unproven", "active", "idle", "unwatchable", "lists"] as const;

/** Make the plan: the sum of what it lets be sent in a day never passes the day's limit. */
export function planPolls(
  of: {
    readonly census: PollCensus;
    readonly limits: PollLimits;
    readonly intervals: PollIntervals;
  },
  at: EpochMs,
): PollPlan {
  const { census, limits } = of;
  const ranges = rangesOf(of.intervals);
  const counts = { ...census.calendars, lists: census.accounts };
  const rateAt = (everyMs: (range: Range) => number): number =>
    KINDS.reduce((sum, kind) => sum + (counts[kind] * DAY_MS) / everyMs(ranges[kind]), 0);

  const byDay = limits.perDay * (1 - limits.dayReserve);
  const byMinute = limits.perMinute * (1 - limits.minuteReserve) * (DAY_MS / 60_000);
  const mayUse = Math.min(byDay, byMinute);
  const renewals = renewalsOf(census);
  const slowed = {
    count: counts.slowed,
    requestsPerDay: (counts.slowed * DAY_MS) / SLOWED_INTERVAL_MS,
  };
  const needed = renewals.requestsPerDay + slowed.requestsPerDay;
  const forPolls = Math.max(mayUse / (1 + EXTRA_PER_REQUEST) - needed, mayUse * LEAST_SHARE);

  const factor = Math.max(1, rateAt(({ patientMs }) => patientMs) / forPolls);
  const most = Math.max(...KINDS.map((kind) => ranges[kind].patientMs / ranges[kind].baseMs));
  const patient = leastThatFits((by) => rateAt(relaxedBy(by, 1)) <= forPolls, most);
  const others = leastThatFits((by) => rateAt(relaxedBy(patient, by)) <= forPolls, most);
  const kinds = KINDS.map((kind) => {
    // Rounded up: a sum of what is rounded down might not fit.
    const intervalMs = Math.ceil(relaxedBy(patient, others)(ranges[kind]) * factor);
    const requestsPerDay = (counts[kind] * DAY_MS) / intervalMs;
    return { kind, count: counts[kind], baseMs: ranges[kind].baseMs, intervalMs, requestsPerDay };
  });
  const polls = kinds.reduce((sum, { requestsPerDay }) => sum + requestsPerDay, 0);
  const extra = (polls + needed) * EXTRA_PER_REQUEST;
  const limit = { perDay: Math.min(limits.perDay, limits.perMinute * (DAY_MS / 60_000)) };
  const reserve = limit.perDay - mayUse;
  const sum = polls + needed + extra + reserve;
  return {
    at,
    kinds,
    neverRead: counts.first,
    slowed,
    renewals,
    limit: { ...limit, boundBy: byDay <= byMinute ? "day" : "minute" },
    reserve,
    extra,
    forPolls,
    polls,
    sum,
    left: limit.perDay - sum,
    factor,
    isPushSilent: census.silence.replaced >= SILENT_PATH_FROM && census.silence.told === 0,
  };
}

function relaxedBy(patient: number, others: number): (range: Range) => number {
  return ({ baseMs, patientMs, isPatient }) =>
    Math.min(baseMs * (isPatient ? patient : others), patientMs);
}

function renewalsOf({ calendars, channelLifeMs }: PollCensus): PollPlan["renewals"] {
  const channels = calendars.live + calendars.unproven;
  const lifeMs = Math.max(HOUR_MS, channelLifeMs ?? CHANNEL_LIFE_MS);
  const perChannel = (REQUESTS_PER_RENEWAL * DAY_MS) / (LIFE_USED * lifeMs);
  return { channels, lifeMs, requestsPerDay: channels * perChannel };
}

/** The least number from 1 to `most` that fits, or `most`. */
function leastThatFits(fits: (by: number) => boolean, most: number): number {
  if (fits(1)) return 1;
  let [low, high] = [1, most];
  for (let halvings = 0; halvings < 50; halvings += 1) {
    const middle = (low + high) / 2;
    if (fits(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** Of which kind a calendar is. */
export function pollKindOf(
  facts: PollFacts,
  at: { readonly now: EpochMs; readonly hasPush: boolean; readonly isPushSilent: boolean },
): PollKind {
  const { watchState, channel } = facts;
  const { now } = at;
  const isOpen = channel?.expiresAt !== undefined && channel.expiresAt > now;
  if (at.hasPush && watchState === "watched" && isOpen) {
    const isHeard = hasProven(channel, now) && !facts.isSilent && !at.isPushSilent;
    return isHeard ? "live" : "unproven";
  }
  return unheardKindOf(facts, now);
}

function hasProven(channel: NonNullable<PollFacts["channel"]>, now: EpochMs): boolean {
  return (
    channel.lastMessageAt !== undefined ||
    // Its predecessor told until it was renewed.
    channel.reason === "expiring" ||
    now - channel.createdAt >= PROVEN_AFTER_MS
  );
}

/** Of a calendar whose changes polls alone find. */
function unheardKindOf(
  { watchState, generation, changedAt, readAt }: PollFacts,
  now: EpochMs,
): PollKind {
  const hasChanged = changedAt !== undefined && now - changedAt < CHANGED_LATELY_MS;
  // Holidays and birthdays are read with the calendars beside them, and hardly ever change.
  if (watchState === "unwatchable") return hasChanged && generation > 1 ? "active" : "unwatchable";
  const isRead = readAt !== undefined && now - readAt < READ_LATELY_MS;
  return hasChanged || isRead ? "active" : "idle";
}

/** How often a kind is polled: as the plan says, as configured where there is none yet. */
export function intervalOf(
  kind: PolledKind,
  by: { readonly plan: PollPlan | undefined; readonly intervals: PollIntervals },
): number {
  const planned = by.plan?.kinds.find((one) => one.kind === kind);
  const { baseMs } = rangesOf(by.intervals)[kind];
  // The plan may have been made for other intervals: by another process, or before a restart.
  return planned === undefined ? baseMs : baseMs * (planned.intervalMs / planned.baseMs);
}

/** Decide at each publish when the calendar is polled next, by the plan in force then. */
export function createPlanPoll(
  options: { readonly intervals: PollIntervals; readonly hasPush: boolean },
  deps: { readonly plan: () => PollPlan | undefined; readonly random: Random },
): PlanPoll {
  return (facts, now) => {
    const plan = deps.plan();
    const { hasPush, intervals } = options;
    const kind = pollKindOf(facts, { now, hasPush, isPushSilent: plan?.isPushSilent ?? false });
    const every = intervalOf(isPolled(kind) ? kind : "active", { plan, intervals });
    return { dueAt: epochMs(nextPollAt(now, every, deps.random)), reason: "poll", kind };
  };
}

/** Whether a kind is polled at an interval of its own. */
export function isPolled(kind: PollKind): kind is Exclude<PollKind, "first" | "slowed"> {
  return kind !== "first" && kind !== "slowed";
}
