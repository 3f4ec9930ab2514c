import { QuestionRefused, type EventsAnswer, type EventsQuestion } from "../core/calendar-reads.ts";
import type { Clock } from "../core/clock.ts";
import type { RefreshWaiter } from "./await-refresh.ts";
import type { Expansion, Taking } from "./expand-range.ts";
import type { FactsReader } from "./facts-reader.ts";
import { instanceOf } from "./instance-of.ts";
import type { RangeReader } from "./range-reader.ts";
import { touches } from "./series.ts";
import { allUnknown, ofTenant, requireAnswerable, whyDistrusted } from "./trust.ts";
import { untilAborted } from "./until-aborted.ts";

const MAX_LIMIT = 2_500;

/** The ports and parts that a read goes through. */
export interface EventsParts {
  readonly facts: FactsReader;
  readonly refreshes: RefreshWaiter;
  readonly ranges: RangeReader<readonly Taking[]>;
  readonly clock: Clock;
}

/** Everything of an expansion, by start. Written out as instances only page by page. */
export function keepTakings({ takings }: Expansion): readonly Taking[] {
  return takings.toSorted(byStart);
}

/** What takes place in a range of one calendar, one page of it. */
export async function readEvents(
  question: EventsQuestion,
  parts: EventsParts,
  signal: AbortSignal,
): Promise<EventsAnswer> {
  requireAnswerable(question);
  const after = question.after === undefined ? undefined : readCursor(question.after);
  signal.throwIfAborted();
  const startedMs = parts.clock.monotonicMs();
  const known = await untilAborted(parts.facts.read([question.calendarId]), signal);
  const [facts] = await parts.refreshes.freshened(
    known.map((one) => ofTenant(one, question.tenantId)),
    question,
    signal,
  );
  if (facts === undefined) return { kind: "unknown-calendar" };
  const range = { from: question.from, to: question.to };
  const work = parts.ranges.read(facts, {
    range,
    timeZone: question.timeZone,
    kind: "events",
    isWanted: (event) => event.status !== "cancelled",
  });
  const result = await untilAborted(work, signal);
  if (result.freshness === undefined) return { kind: "unknown-calendar" };
  const isNewer = result.freshness.generation > facts.freshness.generation;
  const freshness = isNewer ? result.freshness : facts.freshness;
  const waitedMs = parts.clock.monotonicMs() - startedMs;
  const why = whyDistrusted(freshness, { maxAgeMs: question.maxAgeMs, waitedMs });
  const unknown = result.unknown.map(({ reason, eventIds }) => allUnknown(range, reason, eventIds));
  const window = { fromMs: range.from, toMs: range.to };
  const all = (result.kept ?? []).filter((one) => touches(one, window) && isAfter(one, after));
  const page = all.slice(0, Math.min(Math.max(question.limit, 1), MAX_LIMIT));
  const last = all.length > page.length ? page.at(-1) : undefined;
  return {
    kind: "events",
    freshness,
    instances: page.map((taking) => instanceOf(taking)),
    unknown: why === undefined ? unknown : [allUnknown(range, why), ...unknown],
    next: last === undefined ? undefined : `${String(last.startMs)}:${last.event.id}`,
  };
}

interface Cursor {
  readonly startMs: number;
  readonly id: string;
}

function readCursor(text: string): Cursor {
  const [, startMs, id] = /^(-?\d{1,16}):(.+)$/s.exec(text) ?? [];
  if (startMs === undefined || id === undefined) {
    throw new QuestionRefused(
      "bad-cursor",
      "`after` should be what the page before gave as `next`.",
    );
  }
  return { startMs: Number(startMs), id };
}

function isAfter(taking: Taking, cursor: Cursor | undefined): boolean {
  if (cursor === undefined) return true;
  if (taking.startMs !== cursor.startMs) return taking.startMs > cursor.startMs;
  return taking.event.id > cursor.id;
}

// A series takes place once at a time: its start and its id name an occurrence.
function byStart(left: Taking, right: Taking): number {
  if (left.startMs !== right.startMs) return left.startMs - right.startMs;
  return left.event.id < right.event.id ? -1 : Number(left.event.id > right.event.id);
}
