import type { DueReason } from "./calendar-store.ts";
import type { ChannelRow, WatchState } from "./channel-store.ts";
import type { EpochMs } from "./clock.ts";
import type { CalendarId, ProjectId } from "./ids.ts";

/**
 * Why a calendar is polled as often as it is. `first`: never published, nothing is planned yet; `live`: its
 * channel is proven alive; `unproven`: its channel is open, but nothing says that it tells; `active`: polls
 * alone find its changes, and it was read or changed lately; `idle`: the same, and it was not;
 * `unwatchable`: Google does not push for it, and it hardly ever changes; `slowed`: it keeps failing.
 */
export const POLL_KINDS = [
  "first",
  "live",
  "unproven",
  "active",
  "idle",
  "unwatchable",
  "slowed",
] as const;
export type PollKind = (typeof POLL_KINDS)[number];

/** What decides how soon a calendar that was just published is polled again. */
export interface PollFacts {
  readonly watchState: WatchState;
  /** Of the copy that is published with this. */
  readonly generation: number;
  /** When its copy last changed; the first publish counts. */
  readonly changedAt: EpochMs | undefined;
  /** The last read that was noted. */
  readonly readAt: EpochMs | undefined;
  /** The newest channel that Google has answered; it may be over. */
  readonly channel:
    Pick<ChannelRow, "createdAt" | "expiresAt" | "lastMessageAt" | "reason"> | undefined;
  /** A poll found what the channel had not told, and it has not been looked at yet. */
  readonly isSilent: boolean;
}

/** When a calendar is polled next if nobody asks for it before. */
export interface NextPoll {
  readonly dueAt: EpochMs;
  readonly reason: DueReason;
  /** `active` unless given. */
  readonly kind?: PollKind;
}

/** Decides within the transaction that publishes, from what the row says then. */
export type PlanPoll = (facts: PollFacts, now: EpochMs) => NextPoll;

/** How many there are of what costs requests without anybody asking. */
export interface PollCensus {
  /** Of connected accounts, not lost. */
  readonly calendars: Readonly<Record<PollKind, number>>;
  /** Connected accounts, whose calendar lists are read. */
  readonly accounts: number;
  /** How long Google lets channels live, on average over some; undefined: there is none. */
  readonly channelLifeMs: number | undefined;
  /** Channels opened lately instead of silent ones, and how many of these have told something. */
  readonly silence: { readonly replaced: number; readonly told: number };
}

/** A calendar's polls as `calendars why` tells them. */
export interface PollPast {
  readonly kind: PollKind;
  readonly watchState: WatchState;
  readonly changedAt: EpochMs | undefined;
  readonly readAt: EpochMs | undefined;
  readonly notifiedAt: EpochMs | undefined;
  /** By when the next poll is to prove the copy current, unless its channel is lost before. */
  readonly freshUntil: EpochMs | undefined;
}

/** What polls are planned by, and the plan that all processes share. */
export interface PollStore {
  /** In portions, from an index alone. */
  census(projectId: ProjectId, now: EpochMs): Promise<PollCensus>;
  /** The plan in force, as it was kept; its owner parses it. Undefined: none was kept yet. */
  plan(projectId: ProjectId): Promise<unknown>;
  /** True for one asker in so long: who is to make the next plan. */
  takeTurn(
    projectId: ProjectId,
    turn: { readonly now: EpochMs; readonly everyMs: number },
  ): Promise<boolean>;
  keepPlan(projectId: ProjectId, plan: unknown): Promise<void>;
  /** Undefined: there is no such calendar. */
  of(calendarId: CalendarId): Promise<PollPast | undefined>;
  /**
   * Remember that these were read; one whose last noted read is later than `unlessAfter` is not written. An
   * idle one is polled by `wakeBy`. At most 500. How many were written.
   */
  noteReads(
    calendarIds: readonly CalendarId[],
    read: { readonly at: EpochMs; readonly unlessAfter: EpochMs; readonly wakeBy: EpochMs },
  ): Promise<number>;
  /**
   * Somebody hears what Google sends. Where nobody said so for `gapMs`, what was sent until now is lost: the next
   * plan's turn comes at once, and `pullInUnheard` has work.
   */
  noteListening(
    projectId: ProjectId,
    beat: { readonly now: EpochMs; readonly gapMs: number },
  ): Promise<void>;
  /**
   * Of the next so many `live` calendars that have not been seen to, those that are not known to be current since
   * the last gap become `unproven` and are polled by one of these times each. Undefined: there is nothing to see to.
   */
  pullInUnheard(
    projectId: ProjectId,
    pollBy: readonly EpochMs[],
  ): Promise<{ readonly pulled: number } | undefined>;
  /**
   * As many calendars of kind `from` as there are times become of kind `to` and are polled by one of these
   * times each, earlier if they are due earlier. How many there were.
   */
  pullIn(
    projectId: ProjectId,
    change: {
      readonly from: PollKind;
      readonly to: PollKind;
      readonly pollBy: readonly EpochMs[];
    },
  ): Promise<number>;
}
