import type { EpochMs } from "./clock.ts";
import type { AccountId, CalendarId, GoogleCalendarId, TenantId } from "./ids.ts";
import type { EarlierAttempt } from "./request.ts";

/**
 * A push channel at Google. No API lists them, so what is not kept here fires until it expires.
 * `opening`: asked for, not answered yet (its `sync` message may come first); `live`: Google delivers;
 * `stopping`: to be stopped, kept until Google has confirmed it.
 */
export interface ChannelRow {
  /** Ours, at most 64 characters. */
  readonly id: string;
  readonly calendarId: CalendarId;
  readonly state: "opening" | "live" | "stopping";
  /** Google's, known from the answer on; needed to stop the channel. */
  readonly resourceId: string | undefined;
  /** As Google answered, whatever was asked for. */
  readonly expiresAt: EpochMs | undefined;
  readonly createdAt: EpochMs;
  /** Of a message that had to be written down; those that came while it was unserved are not told apart. */
  readonly lastMessageAt: EpochMs | undefined;
  readonly reason: WatchReason;
}

/** Why a channel was opened: the calendar's first one, in time before the old one expires, or instead of one that had gone silent. */
export type WatchReason = "first" | "expiring" | "silent";

/** `unwatchable`: Google does not push for this calendar; it is polled. */
export type WatchState = "unwatched" | "watched" | "unwatchable";

/** One calendar whose channels need looking after; `claim` names this claim and no other. */
export interface ClaimedWatch {
  readonly calendarId: CalendarId;
  readonly tenantId: TenantId;
  readonly claim: EpochMs;
}

/** What the work on a calendar's channels has to know. */
export interface WatchWork {
  readonly calendarId: CalendarId;
  /** Until when the work is this holder's; names the holder. */
  readonly until: EpochMs;
  readonly accountId: AccountId;
  readonly tenantId: TenantId;
  readonly googleId: GoogleCalendarId;
  /** False: lost or paused; its channels are stopped and none is opened. */
  readonly isWanted: boolean;
  readonly state: WatchState;
  /** When something changed that a poll found and that the live channel had not told by then. */
  readonly untoldSince: EpochMs | undefined;
  readonly consecutiveFailures: number;
  readonly earlierAttempt: EarlierAttempt;
  /** Oldest first. */
  readonly channels: readonly ChannelRow[];
}

/** How the work on a calendar's channels ended. */
export interface WatchSettled {
  /** As the work was begun with. */
  readonly until: EpochMs;
  readonly state: WatchState;
  /** When to look again; undefined: not before something changes. */
  readonly dueAt: EpochMs | undefined;
  readonly consecutiveFailures: number;
  readonly earlierAttempt: EarlierAttempt;
  /** The silence was seen to. */
  readonly isSilenceAnswered: boolean;
  /** A calendar that rested on its channel and is not watched any more is polled by then. */
  readonly pollBy: EpochMs;
}

/** How the fleet hears of changes. */
export interface PushHealth {
  readonly watched: number;
  readonly unwatched: number;
  readonly unwatchable: number;
  /** Channels asked for and not answered yet. */
  readonly opening: number;
  /** Channels to be stopped at Google. */
  readonly stopping: number;
  /** Live ones that end within a day: renewed before, unless something keeps that from happening. */
  readonly expiring: number;
  /** Channels there are now that were opened because their predecessor had gone silent. */
  readonly silentReplaced: number;
  /** Watched calendars that a poll found changed, and whose open channel has told nothing since that change. */
  readonly silent: number;
}

/** Notifications, one for each calendar, to be written down together. */
export interface Notified {
  readonly calendarId: CalendarId;
  readonly channelId: string;
}

/** When a notified calendar falls due: so long after its last notification, and no later than so long after its first. */
export interface Debounce {
  readonly quietMs: number;
  readonly mostMs: number;
}

/** When calendars were told of, and how long their refresh waits for more. */
export interface NotifiedHow {
  readonly now: EpochMs;
  readonly debounce: Debounce;
}

/** What became of notifications. */
export interface Marked {
  /** Whose mark was raised. */
  readonly marked: readonly CalendarId[];
  /** Whose mark stands, and whose refresh would begin too soon after this notification: to be put off. */
  readonly early: readonly CalendarId[];
}

/** The channels that may be open at Google, and what they told. */
export interface ChannelStore {
  /** Before the request leaves, so that a crash cannot leave an orphan behind. */
  add(
    channel: Pick<ChannelRow, "id" | "calendarId" | "createdAt"> & {
      readonly reason?: WatchReason;
    },
  ): Promise<void>;
  /** Google's answer: live from here on. False: the channel is unknown. */
  confirm(
    id: string,
    answer: { readonly resourceId: string; readonly expiresAt: EpochMs },
  ): Promise<boolean>;
  get(id: string): Promise<ChannelRow | undefined>;
  /** Of one calendar, oldest first. */
  listOfCalendar(calendarId: CalendarId): Promise<readonly ChannelRow[]>;
  markStopping(id: string): Promise<void>;
  /** After Google has stopped it, or it has expired. */
  remove(id: string): Promise<void>;

  /** Take calendars of connected accounts whose channels need work, fair over tenants; they are due again after `queuedForMs`. */
  claimWatches(query: {
    readonly now: EpochMs;
    readonly limit: number;
    readonly queuedForMs: number;
  }): Promise<readonly ClaimedWatch[]>;
  /** Begin the work of a claim: due again at (about) `until` if nobody settles it. Undefined: the claim is not the latest one. */
  beginWatch(
    calendarId: CalendarId,
    lease: { readonly claim: EpochMs; readonly until: EpochMs },
  ): Promise<WatchWork | undefined>;
  /** False: somebody else has taken over, or it fell due anew meanwhile; nothing but the state is written then. */
  settleWatch(calendarId: CalendarId, settled: WatchSettled): Promise<boolean>;
  /**
   * The live channel has not told what a poll found: to be looked at, and replaced, at `dueAt`. It proves
   * nothing until then, so the calendar is polled by `pollBy`.
   */
  noteSilence(
    calendarId: CalendarId,
    silence: {
      readonly untoldSince: EpochMs;
      readonly dueAt: EpochMs;
      readonly pollBy: EpochMs;
    },
  ): Promise<void>;

  /**
   * Write down that Google told of these calendars, in one transaction (I6). A calendar whose mark no
   * refresh has begun to serve needs nothing written.
   */
  markNotified(notified: readonly Notified[], how: NotifiedHow): Promise<Marked>;
  /** Due later, as `debounce` says, where they wait for a notified refresh that is not queued yet. No promise rests on it. */
  putOff(calendars: readonly CalendarId[], how: NotifiedHow): Promise<void>;
  health(now: EpochMs): Promise<PushHealth>;
}
