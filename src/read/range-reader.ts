import type { TimeRange, UnknownReason } from "../core/calendar-reads.ts";
import { epochMs, type Clock } from "../core/clock.ts";
import type { CalendarFacts, EventStore, Freshness } from "../core/event-store.ts";
import type { GoogleEvent } from "../core/google-event.ts";
import { createBoundedCache } from "./bounded-cache.ts";
import { DAY_MS } from "./civil-days.ts";
import { expandRange, type Expansion } from "./expand-range.ts";
import { readWindow } from "./read-window.ts";
import type { Turns } from "./turns.ts";
import { zoneClock } from "./zone-clock.ts";

/** What makes two questions about one calendar and generation the same. */
export interface RangeQuestion {
  readonly range: TimeRange;
  readonly timeZone: string | undefined;
  /** Names `isWanted` and `keep` in the cache's key. */
  readonly kind: string;
  readonly isWanted: (event: GoogleEvent) => boolean;
}

/** What a calendar's copy says about a range. Whether it is to be trusted is not decided here. */
export interface RangeResult<Kept> {
  /** Undefined: there is no such calendar. */
  readonly freshness: Freshness | undefined;
  readonly kept: Kept | undefined;
  readonly unknown: readonly {
    readonly reason: UnknownReason;
    readonly eventIds: readonly string[];
  }[];
}

/** Expansions of calendars, computed once per generation, window and kind of question. */
export interface RangeReader<Kept> {
  read(facts: CalendarFacts, question: RangeQuestion): Promise<RangeResult<Kept>>;
}

/**
 * Windows are widened to whole days of UTC, so that questions that begin "now" share what is known.
 *
 * State: the results of the generations read of late, bounded by number and by bytes.
 */
export function createRangeReader<Kept>(
  options: {
    readonly maxEntries: number;
    readonly maxBytes: number;
    readonly keep: (expansion: Expansion) => Kept;
    readonly bytesOf: (kept: Kept) => number;
  },
  deps: {
    readonly events: Pick<EventStore, "readEvents">;
    readonly clock: Clock;
    readonly turns: Turns;
  },
): RangeReader<Kept> {
  const cache = createBoundedCache<RangeResult<Kept>>({
    ...options,
    bytesOf: ({ kept }) => 400 + (kept === undefined ? 0 : options.bytesOf(kept)),
  });
  const compute = async (
    facts: CalendarFacts,
    question: RangeQuestion,
    keyOf: (generation: number) => string,
  ): Promise<RangeResult<Kept>> => {
    const window = wholeDays(question.range);
    const read = await readWindow(deps, facts.calendarId, window);
    if (read.kind === "unknown-calendar")
      return { freshness: undefined, kept: undefined, unknown: [] };
    if (read.kind === "changing") return failed(facts.freshness, "changing");
    const { freshness, events } = read;
    const zone = question.timeZone ?? facts.timeZone;
    const clock = zone === undefined ? undefined : zoneClock(zone);
    if (clock === undefined) return failed(freshness, "unreadable-event");
    const expansion = await expandRange(
      events,
      { window: { fromMs: window.from, toMs: window.to }, clock, isWanted: question.isWanted },
      deps.turns,
    );
    const result = { freshness, kept: options.keep(expansion), unknown: expansion.unknown };
    if (expansion.isTransient) return result;
    cache.set(keyOf(freshness.generation), result);
    // Facts a moment old still ask for the generation before.
    cache.set(keyOf(facts.freshness.generation), result);
    return result;
  };
  return {
    async read(facts, question) {
      const keyOf = (generation: number): string =>
        keyFor(facts, { ...question, range: wholeDays(question.range) }, generation);
      const key = keyOf(facts.freshness.generation);
      return cache.get(key) ?? (await cache.once(key, () => compute(facts, question, keyOf)));
    },
  };
}

function failed<Kept>(freshness: Freshness, reason: UnknownReason): RangeResult<Kept> {
  return { freshness, kept: undefined, unknown: [{ reason, eventIds: [] }] };
}

function keyFor(facts: CalendarFacts, question: RangeQuestion, generation: number): string {
  const { range, kind, timeZone } = question;
  const zone = timeZone ?? facts.timeZone ?? "";
  return `${facts.calendarId} ${String(generation)} ${String(range.from)} ${String(range.to)} ${kind} ${zone}`;
}

function wholeDays({ from, to }: TimeRange): TimeRange {
  return {
    from: epochMs(Math.floor(from / DAY_MS) * DAY_MS),
    to: epochMs(Math.ceil(to / DAY_MS) * DAY_MS),
  };
}
