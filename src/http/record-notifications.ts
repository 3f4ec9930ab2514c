/**
 * Writes notifications down, many in one transaction.
 *
 * States: idle → gathering (the first one opens a batch) → writing (the next batch gathers meanwhile) → idle.
 * One batch writes at a time. Everybody in a batch shares its outcome, so a surge costs one small read and
 * at most one write for each batch, whatever its size, and no memory for each notification.
 *
 * Why "kept" is safe to say (I6): a batch is written after the last of its notifications came, and
 * `markNotified` either raises a mark in a committed transaction, or finds one that no refresh has begun to
 * serve. Whichever refresh begins next began after the notification, so it sees the change. Nothing is
 * concluded from what an earlier batch saw: a refresh may have begun since.
 */
import type { ChannelStore, Debounce, Notified } from "../core/channel-store.ts";
import type { Clock } from "../core/clock.ts";
import type { CalendarId } from "../core/ids.ts";

export interface RecordOptions {
  /** How long the first of a batch waits for others. */
  readonly gatherMs: number;
  /** What is not written down by then is refused, and Google delivers it again. */
  readonly keepWithinMs: number;
  /** Calendars in one batch; whoever comes on top of that is refused. */
  readonly batchLimit: number;
  readonly debounce: Debounce;
}

/** `coalesced`: a mark stood already, or this notification is not the first for its calendar in its batch. */
export type Recorded = "marked" | "coalesced" | "not-kept";

export interface NotificationRecorder {
  /** Never rejects. */
  record(notified: Notified): Promise<Recorded>;
  /** Resolves when what was gathered has been written or given up. */
  close(): Promise<void>;
}

type Marked = ReadonlySet<CalendarId> | undefined;

interface Batch {
  readonly notified: Map<string, Notified>;
  /** What was marked; undefined: nothing was kept. */
  readonly marked: Promise<Marked>;
}

export function createNotificationRecorder(
  options: RecordOptions,
  deps: {
    readonly channels: Pick<ChannelStore, "markNotified">;
    readonly clock: Clock;
    readonly onError: (error: unknown) => void;
  },
): NotificationRecorder {
  const { clock } = deps;
  const closing = new AbortController();
  let gathering: Batch | undefined;
  let writing: Promise<unknown> = Promise.resolve();

  const write = async (notified: ReadonlyMap<string, Notified>): Promise<Marked> => {
    try {
      const how = { now: clock.now(), debounce: options.debounce };
      return new Set(await deps.channels.markNotified([...notified.values()], how));
    } catch (error) {
      deps.onError(error);
      return undefined;
    }
  };

  const open = (): Batch => {
    const notified = new Map<string, Notified>();
    const previous = writing;
    const written = (async () => {
      await pause(clock, { ms: options.gatherMs, signal: closing.signal });
      await previous;
      gathering = undefined;
      return write(notified);
    })();
    writing = written;
    return { notified, marked: inTime(written, options.keepWithinMs, clock) };
  };

  return {
    async record(one) {
      gathering ??= open();
      const { notified, marked } = gathering;
      if (notified.size >= options.batchLimit) return "not-kept";
      const isFirst = !notified.has(one.channelId);
      notified.set(one.channelId, one);
      const written = await marked;
      if (written === undefined) return "not-kept";
      return isFirst && written.has(one.calendarId) ? "marked" : "coalesced";
    },
    async close() {
      closing.abort();
      await writing;
    },
  };
}

async function inTime(written: Promise<Marked>, withinMs: number, clock: Clock): Promise<Marked> {
  const done = new AbortController();
  const late = pause(clock, { ms: withinMs, signal: done.signal }).then(() => undefined);
  try {
    return await Promise.race([written, late]);
  } finally {
    done.abort();
  }
}

/** Ends early, without a word, when the signal aborts. */
async function pause(
  clock: Clock,
  { ms, signal }: { readonly ms: number; readonly signal: AbortSignal },
): Promise<void> {
  try {
    await clock.sleep(ms, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
