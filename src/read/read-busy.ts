import {
  QuestionRefused,
  type BusyAnswer,
  type BusyQuestion,
  type CalendarBusy,
  type TimeRange,
  type UnknownReason,
  type UnknownTime,
} from "../core/calendar-reads.ts";
import type { Clock } from "../core/clock.ts";
import type { CalendarFacts } from "../core/event-store.ts";
import type { CalendarId } from "../core/ids.ts";
import type { RefreshWaiter } from "./await-refresh.ts";
import type { Expansion } from "./expand-range.ts";
import type { FactsReader } from "./facts-reader.ts";
import { clipRanges, mergeLists, mergeSpans, withoutRanges } from "./intervals.ts";
import { isBusy } from "./is-busy.ts";
import type { RangeReader } from "./range-reader.ts";
import { allUnknown, ofTenant, requireAnswerable, whyDistrusted } from "./trust.ts";
import type { Turns } from "./turns.ts";
import { untilAborted } from "./until-aborted.ts";

/** As many calendars one question may name. */
export const MAX_CALENDARS = 500;
const AT_ONCE = 4;
/** Of the events behind a reason so many are named. */
const MAX_NAMED = 10;
/** More busy times than this, over all calendars, are no answer to anybody. */
const MAX_TIMES = 1_000_000;

/** The ports and parts that a read goes through. */
export interface BusyParts {
  readonly facts: FactsReader;
  readonly refreshes: RefreshWaiter;
  readonly ranges: RangeReader<readonly TimeRange[]>;
  readonly turns: Turns;
  readonly clock: Clock;
}

/** The busy times of an expansion, which holds nothing that is free. */
export function keepBusy({ takings }: Expansion): readonly TimeRange[] {
  return mergeSpans(takings);
}

/** Busy times of many calendars; see `BusyAnswer` for what its lists mean. */
export async function readBusy(
  question: BusyQuestion,
  parts: BusyParts,
  signal: AbortSignal,
): Promise<BusyAnswer> {
  requireAnswerable(question);
  const ids = [...new Set(question.calendarIds)];
  if (ids.length === 0 || ids.length > MAX_CALENDARS) {
    const most = String(MAX_CALENDARS);
    throw new QuestionRefused("too-many-calendars", `Name 1 to ${most} calendars in one question.`);
  }
  signal.throwIfAborted();
  const startedMs = parts.clock.monotonicMs();
  const known = await untilAborted(parts.facts.read(ids), signal);
  const facts = await parts.refreshes.freshened(
    known.map((one) => ofTenant(one, question.tenantId)),
    question,
    signal,
  );
  const calendars: CalendarBusy[] = [];
  const answerNext = async (at: number): Promise<void> => {
    const calendarId = ids[at];
    if (calendarId === undefined) return;
    const waitedMs = parts.clock.monotonicMs() - startedMs;
    const about = { calendarId, facts: facts[at], waitedMs };
    if (parts.turns.isOver()) await parts.turns.next();
    calendars[at] = await untilAborted(busyOf(about, question, parts), signal);
    await answerNext(at + AT_ONCE);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, (_, at) => answerNext(at)));
  const { from, to } = question;
  if (calendars.reduce((sum, one) => sum + one.busy.length, 0) > MAX_TIMES) {
    const most = String(MAX_TIMES);
    throw new QuestionRefused(
      "answer-too-large",
      `The answer would hold over ${most} times: ask for fewer calendars, or fewer days.`,
    );
  }
  const busy = await mergeLists(
    calendars.map((one) => one.busy),
    parts.turns,
  );
  return {
    from,
    to,
    busy,
    unknown: withoutRanges(reasonsOf(calendars, { from, to }), busy),
    calendars,
  };
}

/** Each reason once. Every reason is about the whole range, so what is busy anyway is all it leaves out. */
function reasonsOf(calendars: readonly CalendarBusy[], range: TimeRange): readonly UnknownTime[] {
  const eventIds = new Map<UnknownReason, Set<string>>();
  for (const time of calendars.flatMap((one) => one.unknown)) {
    const ids = eventIds.get(time.reason) ?? new Set();
    eventIds.set(time.reason, ids);
    for (const id of time.eventIds) if (ids.size < MAX_NAMED) ids.add(id);
  }
  return [...eventIds].map(([reason, ids]) => allUnknown(range, reason, [...ids]));
}

async function busyOf(
  about: {
    readonly calendarId: CalendarId;
    readonly facts: CalendarFacts | undefined;
    readonly waitedMs: number;
  },
  question: BusyQuestion,
  parts: BusyParts,
): Promise<CalendarBusy> {
  const { calendarId, facts } = about;
  const range = { from: question.from, to: question.to };
  if (facts === undefined) return nothingKnown(calendarId, range);
  const { tentative, timeZone } = question;
  const result = await parts.ranges.read(facts, {
    range,
    timeZone,
    kind: `busy ${tentative}`,
    isWanted: (event) => isBusy(event, tentative),
  });
  if (result.freshness === undefined) return nothingKnown(calendarId, range);
  // A result of an earlier read is of this generation; how old it is is what the facts say now.
  const isNewer = result.freshness.generation > facts.freshness.generation;
  const freshness = isNewer ? result.freshness : facts.freshness;
  const why = whyDistrusted(freshness, { maxAgeMs: question.maxAgeMs, waitedMs: about.waitedMs });
  const busy = clipRanges(result.kept ?? [], range);
  const unknown =
    why === undefined
      ? result.unknown.map(({ reason, eventIds }) => allUnknown(range, reason, eventIds))
      : [allUnknown(range, why)];
  return { calendarId, freshness, busy, unknown: withoutRanges(unknown, busy) };
}

function nothingKnown(calendarId: CalendarId, range: TimeRange): CalendarBusy {
  const unknown = [allUnknown(range, "unknown-calendar")];
  return { calendarId, freshness: undefined, busy: [], unknown };
}
