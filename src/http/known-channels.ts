/**
 * Which calendar a channel belongs to, kept in memory for a while.
 *
 * State: a bounded map from channel to calendar, or to the fact that there is no such channel; the oldest
 * entry gives way. A channel belongs to one calendar for ever, so an entry is never wrong, only about
 * something that has ended meanwhile. Asked for once at a time.
 */
import type { ChannelStore } from "../core/channel-store.ts";
import type { Clock } from "../core/clock.ts";
import type { CalendarId } from "../core/ids.ts";

export interface KnownChannels {
  /** Undefined: no such channel, or none any more. Rejects when the database cannot be asked. */
  calendarOf(channelId: string): CalendarId | undefined | Promise<CalendarId | undefined>;
}

interface Entry {
  readonly calendarId: CalendarId | undefined;
  readonly untilMs: number;
}

export function createKnownChannels(
  options: { readonly keptForMs: number; readonly limit: number },
  deps: { readonly channels: Pick<ChannelStore, "get">; readonly clock: Clock },
): KnownChannels {
  const entries = new Map<string, Entry>();
  const asking = new Map<string, Promise<CalendarId | undefined>>();

  const ask = async (channelId: string): Promise<CalendarId | undefined> => {
    try {
      const calendarId = (await deps.channels.get(channelId))?.calendarId;
      for (const oldest of entries.keys()) {
        if (entries.size < options.limit) break;
        entries.delete(oldest);
      }
      const untilMs = deps.clock.monotonicMs() + options.keptForMs;
      entries.delete(channelId);
      entries.set(channelId, { calendarId, untilMs });
      return calendarId;
    } finally {
      asking.delete(channelId);
    }
  };

  return {
    calendarOf(channelId) {
      const entry = entries.get(channelId);
      if (entry !== undefined && entry.untilMs > deps.clock.monotonicMs()) return entry.calendarId;
      const running = asking.get(channelId);
      if (running !== undefined) return running;
      const answer = ask(channelId);
      asking.set(channelId, answer);
      return answer;
    },
  };
}
