/**
 * Writes notifications down, many in one transaction.
 *
 * States: idle → gathering (the first one opens a batch) → writing (the next batch gathers meanwhile) → idle.
 * One batch writes at a time. Everybody in a batch shares its outcome, so a surge costs one small read and
 * at most one write for each batch, whatever its size, and no memory for each notification.
 *
 * Why "kept" is safe to say (I6): a batch is written after the last of its notifications came, and
 * `markNotified` either raises a mark in a committed transaction, or finds one that no refresh has begun to
 * serve. Whichever refresh begins next began after the notification, so it sees the change.
 *
 * Why no mark is remembered from one batch to the next, although most of a surge finds its mark standing: a
 * refresh may have begun in another process since, and may have read the calendar before this change. Only
 * the row knows, and it is asked once for all of a batch: 50 reads a second, however many notifications. A
 * promise that could stand in for the read (no refresh begins before the due time) does not exist: a
 * person's refresh begins at once, in whichever process.
 *
 * What is put off (a refresh whose calendar is told of again and again) is no promise: it is written beside the
 * answers, a few times a second, and may be missed.
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
  /** Refreshes are put off at most so often. */
  readonly putOffEveryMs: number;
}

/** `coalesced`: a mark stood already, or this notification is not the first for its calendar in its batch. */
export type Recorded = "marked" | "coalesced" | "not-kept";

export interface NotificationRecorder {
  /** Never rejects. */
  record(notified: Notified): Promise<Recorded>;
  /** Resolves when what was gathered has been written or given up. */
  close(): Promise<void>;
}

type Written = ReadonlySet<CalendarId> | undefined;

interface Batch {
  readonly notified: Map<string, Notified>;
  /** What was marked; undefined: nothing was kept. */
  readonly written: Promise<Written>;
}

export function createNotificationRecorder(
  options: RecordOptions,
  deps: {
    readonly channels: Pick<ChannelStore, "markNotified" | "putOff">;
    readonly clock: Clock;
    readonly onError: (error: unknown) => void;
  },
): NotificationRecorder {
  const { clock } = deps;
  const closing = new AbortController();
  const later = createPuttingOff(options, deps);
  let gathering: Batch | undefined;
  let writing: Promise<unknown> = Promise.resolve();

  const write = async (notified: ReadonlyMap<string, Notified>): Promise<Written> => {
    try {
      const how = { now: clock.now(), debounce: options.debounce };
      const { marked, early } = await deps.channels.markNotified([...notified.values()], how);
      later.add(early);
      return new Set(marked);
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
    const late = (): void =>
      deps.onError(new Error(`Not written within ${String(options.keepWithinMs)} ms`));
    return { notified, written: inTime(written, { withinMs: options.keepWithinMs, late }, clock) };
  };

  return {
    async record(one) {
      gathering ??= open();
      const { notified, written } = gathering;
      const isFirst = !notified.has(one.channelId);
      if (isFirst && notified.size >= options.batchLimit) return "not-kept";
      if (isFirst) notified.set(one.channelId, one);
      const marked = await written;
      if (marked === undefined) return "not-kept";
      return isFirst && marked.has(one.calendarId) ? "marked" : "coalesced";
    },
    async close() {
      closing.abort();
      await writing;
      await later.close();
    },
  };
}

/**
 * States: idle → writing (what is added meanwhile waits for the next time). What was added last may never be
 * written: its refresh begins a little sooner after its last notification.
 */
function createPuttingOff(
  { debounce, putOffEveryMs, batchLimit }: RecordOptions,
  deps: Parameters<typeof createNotificationRecorder>[1],
): { add(calendars: readonly CalendarId[]): void; close(): Promise<void> } {
  const { channels, clock, onError } = deps;
  const waiting = new Set<CalendarId>();
  let lastMs = Number.NEGATIVE_INFINITY;
  let writing: Promise<void> | undefined;

  const write = async (calendars: readonly CalendarId[]): Promise<void> => {
    try {
      await channels.putOff(calendars, { now: clock.now(), debounce });
    } catch (error) {
      onError(error);
    }
    lastMs = clock.monotonicMs();
    writing = undefined;
  };

  return {
    add(calendars) {
      for (const id of calendars) if (waiting.size < batchLimit) waiting.add(id);
      const isTime = clock.monotonicMs() - lastMs >= putOffEveryMs;
      if (waiting.size === 0 || writing !== undefined || !isTime) return;
      writing = write([...waiting]);
      waiting.clear();
    },
    async close() {
      await writing;
    },
  };
}

async function inTime(
  written: Promise<Written>,
  { withinMs, late }: { readonly withinMs: number; readonly late: () => void },
  clock: Clock,
): Promise<Written> {
  const done = new AbortController();
  const timeUp = pause(clock, { ms: withinMs, signal: done.signal }).then(() => {
    if (!done.signal.aborted) late();
    return undefined;
  });
  try {
    return await Promise.race([written, timeUp]);
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
