import type { NoteReads } from "../core/calendar-reads.ts";
import type { Clock } from "../core/clock.ts";
import type { CalendarFacts, EventStore } from "../core/event-store.ts";
import type { CalendarId } from "../core/ids.ts";

/** Facts are at most so old. A read may therefore see a publish, or a loss, this much late. */
export const FACTS_TTL_MS = 200;
const MAX_KEPT = 50_000;
const MAX_AT_ONCE = 500;

/** The facts of calendars, cheap enough to be asked for with every read. */
export interface FactsReader {
  /** In the order of `ids`; undefined where there is no such calendar. Ages count on from when they were read. */
  read(ids: readonly CalendarId[]): Promise<readonly (CalendarFacts | undefined)[]>;
}

interface Kept {
  readonly facts: CalendarFacts | undefined;
  readonly readAtMs: number;
}

/**
 * Looks calendars up in batches, and each at most five times a second, however often it is read.
 *
 * State: the last facts of the calendars read of late (bounded), and the batches under way.
 */
export function createFactsReader(deps: {
  readonly events: Pick<EventStore, "readFacts">;
  readonly clock: Clock;
  readonly noteReads?: NoteReads | undefined;
}): FactsReader {
  const { events, clock } = deps;
  const kept = new Map<CalendarId, Kept>();
  const underWay = new Map<CalendarId, Promise<void>>();
  const lookUp = async (ids: readonly CalendarId[]): Promise<void> => {
    try {
      const now = clock.now();
      const readAtMs = clock.monotonicMs();
      const found = new Map(
        (await events.readFacts(ids, now)).map((facts) => [facts.calendarId, facts]),
      );
      for (const id of ids) {
        kept.delete(id);
        kept.set(id, { facts: found.get(id), readAtMs });
      }
      for (const oldest of kept.keys()) {
        if (kept.size <= MAX_KEPT) break;
        kept.delete(oldest);
      }
      deps.noteReads?.([...found.keys()], now);
    } finally {
      for (const id of ids) underWay.delete(id);
    }
  };
  const isKept = (id: CalendarId): boolean => {
    const entry = kept.get(id);
    return entry !== undefined && clock.monotonicMs() - entry.readAtMs < FACTS_TTL_MS;
  };
  return {
    async read(ids) {
      const missing = [...new Set(ids)].filter((id) => !isKept(id));
      const waits = new Set<Promise<void>>();
      const wanted = missing.filter((id) => !underWay.has(id));
      for (let at = 0; at < wanted.length; at += MAX_AT_ONCE) {
        const batch = wanted.slice(at, at + MAX_AT_ONCE);
        const look = lookUp(batch);
        for (const id of batch) underWay.set(id, look);
      }
      for (const id of missing) {
        const look = underWay.get(id);
        if (look !== undefined) waits.add(look);
      }
      if (waits.size > 0) await Promise.all(waits);
      const nowMs = clock.monotonicMs();
      return ids.map((id) => aged(kept.get(id), nowMs));
    },
  };
}

function aged(entry: Kept | undefined, nowMs: number): CalendarFacts | undefined {
  if (entry?.facts === undefined) return undefined;
  const { freshness } = entry.facts;
  if (freshness.ageMs === undefined) return entry.facts;
  const ageMs = freshness.ageMs + Math.max(0, Math.round(nowMs - entry.readAtMs));
  return { ...entry.facts, freshness: { ...freshness, ageMs } };
}
