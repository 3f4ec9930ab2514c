import { epochMs } from "../core/clock.ts";
import type { TimeRange, UnknownTime } from "../core/calendar-reads.ts";
import type { Turns } from "./turns.ts";

/** Spans of any number and order as ranges: sorted, and those that overlap or touch made one. */
export function mergeSpans(
  spans: readonly { readonly startMs: number; readonly endMs: number }[],
): readonly TimeRange[] {
  const lasting = spans.filter(({ startMs, endMs }) => endMs > startMs);
  // Starts and ends, each in order by themselves, tell where nothing is going on; sorting numbers is
  // several times cheaper than sorting what they belong to.
  const starts = Float64Array.from(lasting, ({ startMs }) => startMs).toSorted();
  const ends = Float64Array.from(lasting, ({ endMs }) => endMs).toSorted();
  const merged: TimeRange[] = [];
  let from = starts[0];
  for (let at = 1; at <= starts.length; at++) {
    const endMs = ends[at - 1];
    const nextMs = starts[at];
    if (from === undefined || endMs === undefined) break;
    if (nextMs !== undefined && nextMs <= endMs) continue;
    merged.push({ from: epochMs(from), to: epochMs(endMs) });
    from = nextMs;
  }
  return merged;
}

/** Merged lists as one merged list, in turns: fifty calendars of years are a lot. */
export async function mergeLists(
  lists: readonly (readonly TimeRange[])[],
  turns: Turns,
): Promise<readonly TimeRange[]> {
  let level = lists;
  while (level.length > 1) {
    const next: (readonly TimeRange[])[] = [];
    for (let at = 0; at < level.length; at += 2) {
      if (turns.isOver()) await turns.next();
      next.push(mergeTwo(level[at] ?? [], level[at + 1] ?? []));
    }
    level = next;
  }
  return level[0] ?? [];
}

function mergeTwo(left: readonly TimeRange[], right: readonly TimeRange[]): readonly TimeRange[] {
  if (left.length === 0 || right.length === 0) return left.length === 0 ? right : left;
  const merged: TimeRange[] = [];
  for (const range of inOrder(left, right)) {
    const last = merged.at(-1);
    if (last === undefined || range.from > last.to) merged.push(range);
    else if (range.to > last.to) merged[merged.length - 1] = { from: last.from, to: range.to };
  }
  return merged;
}

function inOrder(left: readonly TimeRange[], right: readonly TimeRange[]): readonly TimeRange[] {
  const all: TimeRange[] = [];
  let at = 0;
  for (const range of left) {
    for (let other = right[at]; other !== undefined && other.from < range.from; other = right[at]) {
      all.push(other);
      at += 1;
    }
    all.push(range);
  }
  return all.concat(right.slice(at));
}

/** The parts of merged ranges that lie inside one. */
export function clipRanges(ranges: readonly TimeRange[], within: TimeRange): readonly TimeRange[] {
  const clipped: TimeRange[] = [];
  for (const range of ranges) {
    if (range.to <= within.from) continue;
    if (range.from >= within.to) break;
    const isInside = range.from >= within.from && range.to <= within.to;
    clipped.push(
      isInside
        ? range
        : {
            from: epochMs(Math.max(range.from, within.from)),
            to: epochMs(Math.min(range.to, within.to)),
          },
    );
  }
  return clipped;
}

/** What of unknown times is not known to be busy anyway; `busy` is merged. */
export function withoutRanges(
  unknown: readonly UnknownTime[],
  busy: readonly TimeRange[],
): readonly UnknownTime[] {
  return unknown.flatMap((time) => {
    const left: UnknownTime[] = [];
    let from = time.from;
    for (const taken of busy) {
      if (taken.to <= from) continue;
      if (taken.from >= time.to) break;
      if (taken.from > from) left.push({ ...time, from, to: taken.from });
      from = taken.to;
    }
    if (from < time.to) left.push({ ...time, from });
    return left;
  });
}
