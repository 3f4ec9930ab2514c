import type { CalendarReader, NoteReads, RequestRefresh } from "../core/calendar-reads.ts";
import type { Clock } from "../core/clock.ts";
import type { EventStore } from "../core/event-store.ts";
import { createRefreshWaiter } from "./await-refresh.ts";
import { createFactsReader } from "./facts-reader.ts";
import { createRangeReader } from "./range-reader.ts";
import { keepBusy, readBusy } from "./read-busy.ts";
import { keepTakings, readEvents } from "./read-events.ts";
import { createTurns } from "./turns.ts";

const BYTES_PER_RANGE = 100;
const BYTES_PER_TAKING = 1_000;

/**
 * Reads of the mirror: events and busy times over ranges, each with how fresh it is.
 *
 * One per process: its caches are what makes a read cheap. A calendar's state, age and generation are
 * looked up at most five times a second (`FACTS_TTL_MS`), so an answer may lag a publish by that much.
 * `requestRefresh` left out: `maxAgeMs` asks for nothing, and answers say what there is.
 */
export function createCalendarReader(deps: {
  readonly events: EventStore;
  readonly clock: Clock;
  readonly requestRefresh?: RequestRefresh | undefined;
  readonly noteReads?: NoteReads | undefined;
}): CalendarReader {
  const { events, clock } = deps;
  const turns = createTurns(() => clock.monotonicMs());
  const facts = createFactsReader(deps);
  const refreshes = createRefreshWaiter({ facts, clock, requestRefresh: deps.requestRefresh });
  const parts = { events, clock, turns };
  const busy = createRangeReader(
    {
      maxEntries: 50_000,
      maxBytes: 64_000_000,
      keep: keepBusy,
      bytesOf: (ranges) => ranges.length * BYTES_PER_RANGE,
    },
    parts,
  );
  const instances = createRangeReader(
    {
      maxEntries: 2_000,
      maxBytes: 64_000_000,
      keep: keepTakings,
      bytesOf: (list) => list.length * BYTES_PER_TAKING,
    },
    parts,
  );
  return {
    readBusy: (question, signal) =>
      readBusy(question, { facts, refreshes, clock, turns, ranges: busy }, signal),
    readEvents: (question, signal) =>
      readEvents(question, { facts, refreshes, clock, ranges: instances }, signal),
  };
}
