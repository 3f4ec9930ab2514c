/** What the day's count begins with when an epoch opens: never less than was granted, and as little more as is safe. */
import type { Clock } from "../core/clock.ts";
import type { EpochRecord, LedgerRecord } from "../core/ledger-record.ts";
import { DAY_TIME_ZONE, dayTurns } from "./day-turns.ts";
import type { Ledger } from "./ledger.ts";
import type { ObserveReply } from "./ledger-reply.ts";
import { ledgerSpanMs, type LedgerSettings } from "./ledger-settings.ts";

/** Steps of a clock up to this are not seen. */
const TOLD_TOLERANCE_MS = 250;

/** The last count that this process wrote: of which epoch, and when, by its monotonic clock, it was not yet read. */
export interface DayRead {
  readonly ofEpoch: number;
  readonly beforeMs: number;
}

interface DayWatch {
  readonly ledger: Pick<Ledger, "projectId">;
  readonly record: Pick<LedgerRecord, "readDay">;
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly current: { readonly settings: LedgerSettings } | undefined;
  readonly notOpenSince: { readonly ofEpoch: number; readonly atMs: number } | undefined;
  readonly dayRead: DayRead | undefined;
}

/**
 * The day's count as written; the most that can have been granted since then; and the ledger's time since when the
 * grants that survivors told are all that were made after the count was read (-1: it cannot be said).
 */
export async function dayToOpenWith(
  watch: DayWatch,
  at: {
    readonly rule: string;
    readonly last: EpochRecord;
    readonly seen: ObserveReply;
    readonly seenAtMs: number;
  },
): Promise<readonly string[]> {
  const { rule, last, seen } = at;
  const ledgerNowMs = seen.header.nowMs;
  const { startedAt, turns } = dayTurns(ledgerNowMs, { timeZone: DAY_TIME_ZONE, count: 1 });
  const endsAt = turns[0] ?? startedAt + 86_400_000;
  const saved = await watch.record.readDay(watch.ledger.projectId);
  const written = saved !== undefined && saved.dayStartedAt === startedAt ? saved.count : 0;
  const remembered = seen.day.startedAt === startedAt ? seen.day.count : 0;
  const isLost = rule === "reseeded" || rule === "waited";
  const sinceWrittenMs = Math.abs(ledgerNowMs - (saved?.ledgerAt ?? last.openedAt));
  const hidden = isLost ? mostHidden(watch, last.number, sinceWrittenMs) : 0;
  const toldSince = rule === "reseeded" ? toldSinceMs(watch, at) : -1;
  const count = Math.max(written, remembered);
  return [startedAt, endsAt, count, hidden, Math.floor(toldSince)].map(String);
}

function mostHidden(watch: DayWatch, lastEpoch: number, sinceWrittenMs: number): number {
  const settings = watch.current?.settings;
  if (settings === undefined) return 0;
  const notOpenSince = watch.notOpenSince;
  // Nothing was granted while this process watched: that time hides nothing.
  const watchedMs =
    notOpenSince?.ofEpoch === lastEpoch ? watch.clock.monotonicMs() - notOpenSince.atMs : 0;
  const longestMs = settings.unattendedMs + settings.windowMs;
  const grantedForMs = Math.min(Math.max(0, sinceWrittenMs - watchedMs), longestMs);
  return settings.projectPerMinute * Math.max(1, Math.ceil(grantedForMs / ledgerSpanMs(settings)));
}

/**
 * Who re-seeds tells every grant of the last W+J+D, so what was granted after a younger count is known and need not
 * be guessed. Only by a count that this process read itself: its monotonic clock says how long ago, and no other can.
 */
function toldSinceMs(
  watch: DayWatch,
  at: { readonly last: EpochRecord; readonly seen: ObserveReply; readonly seenAtMs: number },
): number {
  const { dayRead, current } = watch;
  if (dayRead === undefined || current === undefined) return -1;
  if (dayRead.ofEpoch !== at.last.number) return -1;
  const agoMs = (at.seenAtMs - dayRead.beforeMs) * 1.001 + TOLD_TOLERANCE_MS;
  return agoMs > ledgerSpanMs(current.settings) ? -1 : at.seen.header.nowMs - agoMs;
}
