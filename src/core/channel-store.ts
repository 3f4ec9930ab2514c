import type { EpochMs } from "./clock.ts";
import type { CalendarId } from "./ids.ts";

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
  readonly lastMessageAt: EpochMs | undefined;
}

/** The channels that may be open at Google. */
export interface ChannelStore {
  /** Before the request leaves, so that a crash cannot leave an orphan behind. */
  add(channel: Pick<ChannelRow, "id" | "calendarId" | "createdAt">): Promise<void>;
  /** Google's answer: live from here on. False: the channel is unknown. */
  confirm(
    id: string,
    answer: { readonly resourceId: string; readonly expiresAt: EpochMs },
  ): Promise<boolean>;
  get(id: string): Promise<ChannelRow | undefined>;
  /** Of one calendar, oldest first. */
  listOfCalendar(calendarId: CalendarId): Promise<readonly ChannelRow[]>;
  /** Live ones that expire before `before`, soonest first; at most `limit`. */
  listExpiring(before: EpochMs, limit: number): Promise<readonly ChannelRow[]>;
  markStopping(id: string): Promise<void>;
  noteMessage(id: string, at: EpochMs): Promise<void>;
  /** After Google has stopped it, or it has expired. */
  remove(id: string): Promise<void>;
}
