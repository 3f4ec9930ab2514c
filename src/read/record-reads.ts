import type { NoteReads } from "../core/calendar-reads.ts";
import { epochMs, type Clock, type EpochMs } from "../core/clock.ts";
import type { CalendarId } from "../core/ids.ts";
import type { PollStore } from "../core/poll-store.ts";
import { StoreUnavailable } from "../core/refusal.ts";

/** A calendar that is read all day is written so often; by that it is known to be read. */
const NOTE_AGAIN_AFTER_MS = 6 * 3_600_000;
/** Reads of so long are written together. */
const GATHER_MS = 5_000;
const MOST_AT_ONCE = 500;
/** More are not remembered: they are noted when they are read again. */
const MOST_WAITING = 20_000;
const MOST_KNOWN = 50_000;
/** A calendar that was idle is polled within this, sooner or later so that a crowd does not come at once. */
const WAKE_WITHIN_MS = 5 * 60_000;

/** Takes note of reads, and writes them down some time. */
export interface ReadRecorder {
  readonly note: NoteReads;
  /** Writes down what has gathered, and takes nothing more. */
  close(): Promise<void>;
}

/**
 * Remembers which calendars are read, so that they are polled more often than those that nobody reads. Coarse
 * on purpose: a calendar is written a few times a day at most, however often it is read, by however many.
 *
 * States: quiet → gathering (from the first read on) → writing → gathering, or quiet where nothing waits. What
 * cannot be written, or is lost in a crash, is noted with the next read. Bounded in what it remembers.
 */
export function createReadRecorder(deps: {
  readonly polls: Pick<PollStore, "noteReads">;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onError: (error: unknown) => void;
}): ReadRecorder {
  const { clock } = deps;
  /** When this process last wrote each. */
  const written = new Map<CalendarId, number>();
  const waiting = new Set<CalendarId>();
  const closing = new AbortController();
  let working: Promise<void> | undefined;

  const isNoted = (id: CalendarId, at: EpochMs): boolean =>
    at - (written.get(id) ?? Number.NEGATIVE_INFINITY) < NOTE_AGAIN_AFTER_MS;

  const remember = (ids: readonly CalendarId[], at: EpochMs): void => {
    for (const id of ids) {
      written.delete(id);
      written.set(id, at);
    }
    for (const oldest of written.keys()) {
      if (written.size <= MOST_KNOWN) break;
      written.delete(oldest);
    }
  };

  const writeSome = async (): Promise<void> => {
    const ids = [...waiting].slice(0, MOST_AT_ONCE);
    for (const id of ids) waiting.delete(id);
    const at = clock.now();
    try {
      await deps.polls.noteReads(ids, {
        at,
        unlessAfter: epochMs(at - NOTE_AGAIN_AFTER_MS),
        wakeBy: epochMs(Math.round(at + WAKE_WITHIN_MS * deps.random())),
      });
      remember(ids, at);
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) deps.onError(error);
    }
  };

  const work = async (): Promise<void> => {
    while (waiting.size > 0) {
      // Woken by being closed: what has gathered is written all the same.
      await clock.sleep(GATHER_MS, closing.signal).catch(() => undefined);
      for (let left = waiting.size; left > 0; left -= MOST_AT_ONCE) await writeSome();
    }
    working = undefined;
  };

  return {
    note(ids, at) {
      if (closing.signal.aborted) return;
      for (const id of ids) {
        if (waiting.size >= MOST_WAITING) break;
        if (!isNoted(id, at)) waiting.add(id);
      }
      if (waiting.size > 0) working ??= work();
    },
    async close() {
      closing.abort(new Error("No more reads are noted"));
      await working;
    },
  };
}
