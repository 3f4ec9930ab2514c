import type { RequestRefresh } from "../core/calendar-reads.ts";
import type { Clock } from "../core/clock.ts";
import type { CalendarFacts, Freshness } from "../core/event-store.ts";
import type { CalendarId } from "../core/ids.ts";
import type { FactsReader } from "./facts-reader.ts";

const DEFAULT_DEADLINE_MS = 5_000;
const MAX_DEADLINE_MS = 30_000;
const LOOK_MS = 100;
/** A calendar asked for is not asked for again so soon: N readers who wait are one refresh. */
const ASKED_ANEW_MS = 5_000;
const MAX_REMEMBERED = 10_000;

/** What a question says about age. */
export interface AgeWish {
  readonly maxAgeMs?: number | undefined;
  readonly refreshDeadlineMs?: number | undefined;
}

/** Whether a copy is as young as was asked for. A copy made since the question is, whatever was asked. */
export function isYoungEnough(
  { ageMs }: Pick<Freshness, "ageMs">,
  maxAgeMs: number,
  askedForMs: number,
): boolean {
  return ageMs !== undefined && ageMs <= Math.max(maxAgeMs, askedForMs);
}

/** Turns "too old" into a refresh that the asker waits for. */
export interface RefreshWaiter {
  /** The calendars' facts, after those too old were refreshed or the deadline has passed. */
  freshened(
    facts: readonly (CalendarFacts | undefined)[],
    wish: AgeWish,
    signal: AbortSignal,
  ): Promise<readonly (CalendarFacts | undefined)[]>;
}

/** State: when each calendar was last asked for (bounded). Without `requestRefresh` nobody waits. */
export function createRefreshWaiter(deps: {
  readonly facts: FactsReader;
  readonly clock: Clock;
  readonly requestRefresh?: RequestRefresh | undefined;
}): RefreshWaiter {
  const { facts: reader, clock, requestRefresh } = deps;
  const askedAtMs = new Map<CalendarId, number>();
  const ask = async (id: CalendarId): Promise<boolean> => {
    if (requestRefresh === undefined) return false;
    const nowMs = clock.monotonicMs();
    const last = askedAtMs.get(id);
    if (last !== undefined && nowMs - last < ASKED_ANEW_MS) return true;
    if (askedAtMs.size >= MAX_REMEMBERED) askedAtMs.clear();
    askedAtMs.set(id, nowMs);
    const outcome = await requestRefresh(id);
    if (outcome !== "marked") askedAtMs.delete(id);
    return outcome === "marked";
  };
  /** Look again until nobody is waiting or the time is up; `latest` is what was seen last. */
  const watch = async (
    wait: { readonly ids: Set<CalendarId>; readonly endsAtMs: number; readonly isTooOld: IsTooOld },
    latest: Map<CalendarId, CalendarFacts | undefined>,
    signal: AbortSignal,
  ): Promise<void> => {
    while (wait.ids.size > 0 && clock.monotonicMs() < wait.endsAtMs) {
      await clock.sleep(Math.min(LOOK_MS, wait.endsAtMs - clock.monotonicMs()), signal);
      const ids = [...wait.ids];
      const seen = await reader.read(ids);
      for (const [at, id] of ids.entries()) {
        latest.set(id, seen[at]);
        if (wait.isTooOld(seen[at])) continue;
        wait.ids.delete(id);
        askedAtMs.delete(id);
      }
    }
  };
  return {
    async freshened(facts, wish, signal) {
      const { maxAgeMs, refreshDeadlineMs = DEFAULT_DEADLINE_MS } = wish;
      if (maxAgeMs === undefined || requestRefresh === undefined) return facts;
      const startedMs = clock.monotonicMs();
      const endsAtMs = startedMs + Math.min(refreshDeadlineMs, MAX_DEADLINE_MS);
      const isTooOld: IsTooOld = (one) =>
        one !== undefined &&
        one.freshness.state !== "lost" &&
        !isYoungEnough(one.freshness, maxAgeMs, clock.monotonicMs() - startedMs);
      const latest = new Map<CalendarId, CalendarFacts | undefined>();
      const ids = new Set<CalendarId>();
      for (const one of facts) {
        if (one === undefined) continue;
        latest.set(one.calendarId, one);
        if (isTooOld(one) && (await ask(one.calendarId))) ids.add(one.calendarId);
      }
      await watch({ ids, endsAtMs, isTooOld }, latest, signal);
      return facts.map((one) => (one === undefined ? undefined : latest.get(one.calendarId)));
    },
  };
}

type IsTooOld = (facts: CalendarFacts | undefined) => boolean;
