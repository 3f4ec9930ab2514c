import { epochMs } from "../core/clock.ts";
import type { TimeRange, UnknownTime } from "../core/calendar-reads.ts";

/** Sorted, and those that overlap or touch made one. */
export function mergeRanges(ranges: readonly TimeRange[]): readonly TimeRange[] {
  const merged: { from: number; to: number }[] = [];
  for (const { from, to } of ranges.toSorted((left, right) => left.from - right.from)) {
    if (to <= from) continue;
    const last = merged.at(-1);
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to);
    else merged.push({ from, to });
  }
  return merged.map(({ from, to }) => ({ from: epochMs(from), to: epochMs(to) }));
}

/** The parts of merged ranges that lie inside one. */
export function clipRanges(ranges: readonly TimeRange[], within: TimeRange): readonly TimeRange[] {
  const clipped: TimeRange[] = [];
  for (const { from, to } of ranges) {
    const start = epochMs(Math.max(from, within.from));
    const end = epochMs(Math.min(to, within.to));
    if (start < end) clipped.push({ from: start, to: end });
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
