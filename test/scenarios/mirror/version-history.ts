import type { GoogleEvent } from "../../../src/core/google-event.ts";

/**
 * What existed at Google and when, told by whoever wrote it: the oracle that a mirror is judged by.
 *
 * A write is sent at one moment and answered at another; in between, either version may be current.
 * So every version has a span in which it *may* have been current and one in which it *surely* was,
 * and a reader is only blamed where no reading of the spans excuses it. All times are milliseconds
 * of one clock.
 */
interface Version {
  readonly etag: string;
  readonly sentAt: number;
  readonly answeredAt: number;
}

interface EventHistory {
  readonly versions: Version[];
  /** The write that removed it, if one did. */
  removal: { readonly sentAt: number; readonly answeredAt: number } | undefined;
}

export interface Interval {
  readonly from: number;
  readonly to: number;
}

/** What is wrong with one read of one calendar. */
export interface Verdict {
  readonly isEmpty: boolean;
  readonly problems: readonly string[];
}

export interface VersionHistory {
  wrote(event: GoogleEvent, span: { readonly sentAt: number; readonly answeredAt: number }): void;
  removed(eventId: string, span: { readonly sentAt: number; readonly answeredAt: number }): void;
  /** Judge a copy whose sync began at `interval.from` and which was read at `interval.to`. */
  judge(copy: readonly GoogleEvent[], interval: Interval): Verdict;
}

export function createVersionHistory(): VersionHistory {
  const events = new Map<string, EventHistory>();
  const historyOf = (eventId: string): EventHistory => {
    const known = events.get(eventId) ?? { versions: [], removal: undefined };
    events.set(eventId, known);
    return known;
  };

  return {
    wrote(event, span) {
      const history = historyOf(event.id);
      history.removal = undefined;
      history.versions.push({ etag: event.etag ?? "", ...span });
    },
    removed(eventId, span) {
      historyOf(eventId).removal = span;
    },
    judge(copy, interval) {
      const held = new Set(copy.map(({ id }) => id));
      const existing = [...events].filter(([, history]) => surelyExisted(history, interval));
      const missing = existing.filter(([id]) => !held.has(id)).map(([id]) => `lacks ${id}`);
      const wrong = copy
        .filter((event) => !mayHaveBeenCurrent(events.get(event.id), event, interval))
        .map((event) => `holds ${event.id} at ${event.etag ?? "no etag"}`);
      return {
        isEmpty: copy.length === 0 && existing.length > 0,
        problems: [...missing, ...wrong],
      };
    },
  };
}

function surelyExisted({ versions, removal }: EventHistory, interval: Interval): boolean {
  const [first] = versions;
  return (
    first !== undefined &&
    first.answeredAt <= interval.from &&
    (removal === undefined || removal.sentAt > interval.to)
  );
}

function mayHaveBeenCurrent(
  history: EventHistory | undefined,
  event: GoogleEvent,
  interval: Interval,
): boolean {
  if (history === undefined) return false;
  return history.versions.some((version, index) => {
    const endedAt =
      history.versions[index + 1]?.answeredAt ?? history.removal?.answeredAt ?? Infinity;
    return version.etag === event.etag && version.sentAt <= interval.to && endedAt >= interval.from;
  });
}
