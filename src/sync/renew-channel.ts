/**
 * Keep one calendar's push channel: open the first, renew it before it expires (the new one first, then
 * the old one is stopped), replace one that has gone silent, stop those of a calendar that is not wanted.
 *
 * States of the work: due → begun (nobody else begins it until its lease is over) → settled with a new due
 * time. A row is written before a channel is asked for; whoever dies in between leaves an `opening` row,
 * which the next one stops by the resource id of the channel it opens itself: Google names a calendar's
 * resource the same for all its channels.
 */
import { randomUUID } from "node:crypto";
import type { CalendarStore } from "../core/calendar-store.ts";
import type {
  ChannelRow,
  ChannelStore,
  WatchReason,
  WatchSettled,
  WatchWork,
} from "../core/channel-store.ts";
import { epochMs, type Clock, type EpochMs } from "../core/clock.ts";
import { CallFailed } from "../core/failure.ts";
import { FAILURE_POLICY, retryAfterOf } from "../core/failure-policy.ts";
import type { CalendarId, Consumer } from "../core/ids.ts";
import type { PushChannels } from "../core/push-channels.ts";
import { Refused } from "../core/refusal.ts";
import type { CallOptions, EarlierAttempt } from "../core/request.ts";
import { persist } from "./persist.ts";
import { backoffMs, nextPollAt, waitAfterRefusal, type Random } from "./schedule.ts";
import { accountEffectOf, type AccountEffect } from "./account-effect.ts";

export interface RenewOptions {
  /** How long the work is one holder's. */
  readonly leaseMs: number;
  readonly callDeadlineMs: number;
  /** A message this much older than a change may have told of it: those that come together are written down once. */
  readonly graceMs: number;
  /** A channel that replaced a silent one and has told nothing either is replaced no sooner than this. */
  readonly againAfterMs: number;
  /** How soon a calendar is polled that has lost its channel, give or take a quarter. */
  readonly pollWithinMs: number;
  readonly consumer: Consumer;
}

export interface RenewDeps {
  readonly push: PushChannels;
  readonly channels: ChannelStore;
  readonly calendars: Pick<CalendarStore, "request">;
  readonly clock: Clock;
  readonly random: Random;
  readonly onAccountEffect: (effect: AccountEffect) => Promise<void>;
}

export type RenewOutcome =
  | {
      /** `kept`: nothing was to be opened; `stopped`: the calendar is not wanted. */
      readonly kind: "opened" | "kept" | "stopped" | "unwatchable" | "postponed";
      readonly reason: WatchReason | undefined;
      readonly stopped: number;
      readonly code: string | undefined;
      readonly error: unknown;
    }
  | { readonly kind: "skipped"; readonly reason: string };

export type RenewChannel = (
  calendarId: CalendarId,
  run: { readonly claim: EpochMs; readonly signal: AbortSignal },
) => Promise<RenewOutcome>;

/** A channel is renewed when this part of its life is left, give or take a quarter of that. */
const LEAD_SHARE = 0.15;
const SPREAD = 0.25;
/** Longer than any channel lives. */
const LONGEST_LIFE_MS = 31 * 86_400_000;
const FIRST_BACKOFFS_SKIPPED = 4;

/** Build the work on channels. Throws only for bugs and a lost database. */
export function createRenewChannel(options: RenewOptions, deps: RenewDeps): RenewChannel {
  return async (calendarId, { claim, signal }) => {
    const { clock } = deps;
    const work = await deps.channels.beginWatch(calendarId, {
      claim,
      until: epochMs(clock.now() + options.leaseMs),
    });
    if (work === undefined) return { kind: "skipped", reason: "not-due" };
    return runWork({
      work,
      signal,
      options,
      deps,
      earlierAttempt: work.earlierAttempt,
      live: liveOf(work.channels, clock.now()),
      stopped: 0,
      orphans: 0,
    });
  };
}

interface Run {
  readonly work: WatchWork;
  readonly signal: AbortSignal;
  readonly options: RenewOptions;
  readonly deps: RenewDeps;
  earlierAttempt: EarlierAttempt;
  /** The one that tells. */
  live: LiveChannel | undefined;
  stopped: number;
  /** Channels that could not be stopped yet. */
  orphans: number;
}

type LiveChannel = Pick<ChannelRow, "id" | "createdAt"> & {
  readonly resourceId: string;
  readonly expiresAt: EpochMs;
};

async function runWork(run: Run): Promise<RenewOutcome> {
  const { work, deps } = run;
  const reason = reasonToOpen(run);
  try {
    if (reason !== undefined) await openChannel(run, reason);
    await stopOthers(run);
  } catch (error) {
    return settleFailed(run, reason, error);
  }
  run.earlierAttempt = "none";
  const { live } = run;
  const now = deps.clock.now();
  const renewAt = live === undefined ? undefined : renewalAt(live, deps.random);
  const lookAgainAt = run.orphans > 0 ? epochMs(now + run.options.leaseMs) : undefined;
  const stillSilent = silenceOf(run);
  const replaceAt = stillSilent?.replaceAt;
  await settle(run, {
    state: work.isWanted && live !== undefined ? "watched" : "unwatched",
    dueAt: earliest(work.isWanted ? renewAt : undefined, lookAgainAt, replaceAt),
    consecutiveFailures: 0,
    isSilenceAnswered: stillSilent === undefined,
  });
  const kind = work.isWanted ? (reason === undefined ? "kept" : "opened") : "stopped";
  return { kind, reason, stopped: run.stopped, code: undefined, error: undefined };
}

function reasonToOpen(run: Run): WatchReason | undefined {
  const { work, live, deps } = run;
  if (!work.isWanted) return undefined;
  if (live === undefined) return "first";
  const silence = silenceOf(run);
  if (silence !== undefined && silence.replaceAt <= deps.clock.now()) return "silent";
  const leadMs = leadOf(live) * (1 + SPREAD);
  return live.expiresAt - deps.clock.now() <= leadMs ? "expiring" : undefined;
}

/** Looked at again: the message may have come since the poll found what it should have told. */
function silenceOf({ work, live, options }: Run): { readonly replaceAt: EpochMs } | undefined {
  const channel = work.channels.find(({ id }) => id === live?.id);
  if (!work.isWanted || work.untoldSince === undefined || channel === undefined) return undefined;
  const { reason, createdAt, lastMessageAt } = channel;
  if ((lastMessageAt ?? 0) > work.untoldSince - options.graceMs) return undefined;
  // Where nothing reaches us at all, one channel after the other would only cost quota.
  const isSecond = reason === "silent" && lastMessageAt === undefined;
  return { replaceAt: epochMs(isSecond ? createdAt + options.againAfterMs : 0) };
}

async function openChannel(run: Run, reason: WatchReason): Promise<void> {
  const { work, deps } = run;
  const { channels, clock } = deps;
  const id = `ballast-${randomUUID()}`;
  const createdAt = clock.now();
  await channels.add({ id, calendarId: work.calendarId, createdAt, reason });
  const sent = { count: 0 };
  let answer: Awaited<ReturnType<PushChannels["watch"]>>;
  try {
    const target = {
      accountId: work.accountId,
      googleCalendarId: work.googleId,
      channelId: id,
    };
    answer = await deps.push.watch(
      target,
      callOptions(run, () => {
        sent.count += 1;
      }),
    );
  } catch (error) {
    // Where Google may have opened it all the same, its row stays until it can be stopped.
    if (sent.count === 0 || wasRefusedByGoogle(error)) await channels.remove(id);
    throw error;
  }
  run.earlierAttempt = "none";
  const store = { clock, signal: run.signal };
  const isKnown = await persist(() => channels.confirm(id, answer), store);
  if (!isKnown) return;
  run.live = { id, createdAt, ...answer };
  // What changed before it was open and after the last sync nobody told; an overlap leaves no such gap.
  if (reason !== "expiring") {
    const request = { class: "poll", dueAt: clock.now() } as const;
    await persist(() => deps.calendars.request(work.calendarId, request), store);
  }
}

/** Every other channel of the calendar: those that are over, replaced, not wanted, or left by a crash. */
async function stopOthers(run: Run): Promise<void> {
  const { work, deps, options } = run;
  const kept = work.isWanted ? run.live?.id : undefined;
  const resourceId = run.live?.resourceId;
  for (const channel of work.channels) {
    const now = deps.clock.now();
    if (channel.id === kept) continue;
    if (isOver(channel, now)) {
      await deps.channels.remove(channel.id);
      continue;
    }
    const isYoung = channel.state === "opening" && now - channel.createdAt < options.leaseMs;
    const resource = channel.resourceId ?? resourceId;
    const hasTime = now + options.callDeadlineMs < work.until;
    if (isYoung || resource === undefined || !hasTime) {
      run.orphans += 1;
      continue;
    }
    await deps.channels.markStopping(channel.id);
    const target = { accountId: work.accountId, channelId: channel.id, resourceId: resource };
    await deps.push.stop(target, callOptions(run));
    run.earlierAttempt = "none";
    await deps.channels.remove(channel.id);
    run.stopped += 1;
  }
}

function callOptions(run: Run, onSent?: () => void): CallOptions {
  return {
    consumer: run.options.consumer,
    class: "poll",
    earlierAttempt: run.earlierAttempt,
    onSent: () => {
      run.earlierAttempt = "reached-google";
      onSent?.();
    },
    deadlineMs: run.options.callDeadlineMs,
    signal: run.signal,
  };
}

async function settleFailed(
  run: Run,
  reason: WatchReason | undefined,
  error: unknown,
): Promise<RenewOutcome> {
  const { work, deps } = run;
  const owner =
    error instanceof CallFailed ? FAILURE_POLICY[error.failure.kind].owner.kind : undefined;
  const code = codeOf(error);
  const facts = { reason, stopped: run.stopped, code, error } as const;
  if (owner === "poll-instead") {
    run.earlierAttempt = "none";
    await settle(run, {
      state: "unwatchable",
      dueAt: undefined,
      consecutiveFailures: 0,
      isSilenceAnswered: true,
    });
    return { kind: "unwatchable", ...facts };
  }
  const consecutive = work.consecutiveFailures + 1;
  // A call that was not made is no failure, and polls go on meanwhile: no haste.
  const waitMs = waitOf(error) ?? backoffMs(consecutive + FIRST_BACKOFFS_SKIPPED, deps.random);
  await settle(run, {
    state: run.live === undefined ? "unwatched" : "watched",
    dueAt: epochMs(Math.round(deps.clock.now() + waitMs * (1 + SPREAD * deps.random()))),
    consecutiveFailures: error instanceof Refused ? work.consecutiveFailures : consecutive,
    // Only once the one that was silent has been replaced.
    isSilenceAnswered: reason === "silent" && run.live?.id !== liveOf(work.channels, 0)?.id,
  });
  const effect = accountEffectOf(error, work.accountId);
  if (effect !== undefined) await deps.onAccountEffect(effect);
  return { kind: "postponed", ...facts };
}

async function settle(
  run: Run,
  settled: Omit<WatchSettled, "until" | "earlierAttempt" | "pollBy">,
): Promise<void> {
  const { work, deps, signal, earlierAttempt } = run;
  const pollBy = nextPollAt(deps.clock.now(), run.options.pollWithinMs, deps.random);
  await persist(
    () =>
      deps.channels.settleWatch(work.calendarId, {
        ...settled,
        until: work.until,
        earlierAttempt,
        pollBy,
      }),
    { clock: deps.clock, signal },
  );
}

/** The newest one that Google still delivers to. */
function liveOf(channels: readonly ChannelRow[], now: number): LiveChannel | undefined {
  const live = channels.findLast(
    ({ state, expiresAt }) => state === "live" && expiresAt !== undefined && expiresAt > now,
  );
  if (live?.resourceId === undefined || live.expiresAt === undefined) return undefined;
  const { id, createdAt, resourceId, expiresAt } = live;
  return { id, createdAt, resourceId, expiresAt };
}

function isOver({ expiresAt, createdAt }: ChannelRow, now: number): boolean {
  return (expiresAt ?? createdAt + LONGEST_LIFE_MS) <= now;
}

function leadOf({ createdAt, expiresAt }: LiveChannel): number {
  return (expiresAt - createdAt) * LEAD_SHARE;
}

function renewalAt(live: LiveChannel, random: Random): EpochMs {
  const leadMs = leadOf(live) * (1 - SPREAD + 2 * SPREAD * random());
  return epochMs(Math.round(live.expiresAt - leadMs));
}

function earliest(...moments: readonly (EpochMs | undefined)[]): EpochMs | undefined {
  const known = moments.filter((moment) => moment !== undefined);
  return known.length === 0 ? undefined : epochMs(Math.min(...known));
}

/** Google looked at the request and said no; an id that it knows already is one that it opened. */
function wasRefusedByGoogle(error: unknown): boolean {
  if (!(error instanceof CallFailed)) return false;
  const { failure } = error;
  if (failure.kind === "invalid-request" && failure.reason === "channelIdNotUnique") return false;
  return FAILURE_POLICY[failure.kind].sensor === "answered";
}

function codeOf(error: unknown): string {
  return error instanceof CallFailed || error instanceof Refused ? error.code : "BALLAST_BUG";
}

function waitOf(error: unknown): number | undefined {
  if (error instanceof Refused) return waitAfterRefusal(error);
  return error instanceof CallFailed ? retryAfterOf(error.failure) : undefined;
}
