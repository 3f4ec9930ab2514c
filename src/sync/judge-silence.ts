import type { ChannelStore } from "../core/channel-store.ts";
import { epochMs, type Clock } from "../core/clock.ts";
import type { GoogleEvent } from "../core/google-event.ts";
import type { CalendarId } from "../core/ids.ts";
import { StoreUnavailable } from "../core/refusal.ts";
import type { RequestClass } from "../core/request.ts";
import { nextPollAt, type Random } from "./schedule.ts";

export interface SilenceOptions {
  /** A notification that is not there so long after the change is not on its way any more. */
  readonly graceMs: number;
  /** A channel that replaced a silent one and has not told anything either is replaced no sooner than this. */
  readonly againAfterMs: number;
  /** How often a calendar is polled whose channel has not proven anything. */
  readonly unprovenPollMs: number;
}

/** What a refresh from a sync token brought. */
export interface PublishedNews {
  readonly calendarId: CalendarId;
  /** What the refresh was made as. */
  readonly class: RequestClass;
  /** What Google listed last. */
  readonly items: readonly GoogleEvent[];
}

/**
 * A poll found changes of which the live channel should have told long ago: the channel is dead, or its
 * way to us is, and it is replaced. That a channel is open proves nothing; only messages do.
 */
export function createJudgeSilence(
  options: SilenceOptions,
  deps: {
    readonly channels: Pick<ChannelStore, "listOfCalendar" | "noteSilence">;
    readonly clock: Clock;
    readonly random: Random;
  },
): (news: PublishedNews) => Promise<void> {
  const { channels, clock } = deps;
  const judge = async (news: PublishedNews): Promise<void> => {
    if (news.class !== "poll") return;
    const now = clock.now();
    const changed = Math.max(0, ...news.items.map(changedAt));
    if (changed === 0) return;
    const live = (await channels.listOfCalendar(news.calendarId)).findLast(
      ({ state, expiresAt }) => state === "live" && (expiresAt ?? 0) > now,
    );
    if (live === undefined) return;
    const toldUntil = Math.max(live.createdAt, live.lastMessageAt ?? 0) + options.graceMs;
    if (changed <= toldUntil) return;
    // Where nothing reaches us at all, a new channel for each poll would only cost quota: it is noted at
    // once, so that the status tells it, and seen to later.
    const isSecond = live.reason === "silent" && live.lastMessageAt === undefined;
    const notBefore = isSecond ? live.createdAt + options.againAfterMs : 0;
    await channels.noteSilence(news.calendarId, {
      untoldSince: epochMs(changed),
      // Until then its message may still be on its way.
      dueAt: epochMs(Math.max(now, changed + options.graceMs, notBefore)),
      pollBy: nextPollAt(now, options.unprovenPollMs, deps.random),
    });
  };
  return async (news) => {
    try {
      await judge(news);
    } catch (error) {
      // The next poll that finds something judges again.
      if (!(error instanceof StoreUnavailable)) throw error;
    }
  };
}

/** 0 where it is not told, as in a tombstone. */
function changedAt({ updated }: GoogleEvent): number {
  const at = typeof updated === "string" ? Date.parse(updated) : Number.NaN;
  return Number.isNaN(at) ? 0 : at;
}
