import type { AccountStore } from "../src/core/account-store.ts";
import type { CalendarStore } from "../src/core/calendar-store.ts";
import { epochMs, type Clock } from "../src/core/clock.ts";
import type { WorkQueue } from "../src/queue/work-queue.ts";
import { discoverCalendars } from "./discover-calendars.ts";
import { refreshCalendar } from "./refresh-calendar.ts";

export interface FeedOptions {
  /** Rows that may wait in the background queue at once: more would only grow old there. */
  readonly queueDepth: number;
  /** K: rows of one tenant that may be queued at once. */
  readonly perTenant: number;
  /** How long a queued row is nobody else's; then, if its job was lost, it is claimed again. */
  readonly queuedForMs: number;
}

export interface FeedDeps {
  readonly calendars: CalendarStore;
  readonly accounts: AccountStore;
  readonly queue: WorkQueue;
  readonly clock: Clock;
}

/** One look of the claimer: move due rows into the queue, up to its depth. Returns how many. */
export function createFeed(options: FeedOptions, deps: FeedDeps): () => Promise<number> {
  return async () => {
    // Asked first: a Redis that cannot be asked must not hide claimed rows for `queuedForMs`.
    const waiting = await deps.queue.waiting("background");
    const limit = options.queueDepth - waiting;
    if (limit <= 0) return 0;

    const now = deps.clock.now();
    const discoveries = await deps.accounts.claimDueDiscoveries({
      now,
      limit,
      queuedForMs: options.queuedForMs,
    });
    for (const { accountId } of discoveries) {
      await deps.queue.add(discoverCalendars, { accountId, class: "poll" });
    }
    if (discoveries.length >= limit) return discoveries.length;

    const calendars = await deps.calendars.claimDue({
      now,
      limit: limit - discoveries.length,
      perTenant: options.perTenant,
      queuedForMs: options.queuedForMs,
    });
    for (const { calendarId, class: requestClass } of calendars) {
      await deps.queue.add(refreshCalendar, { calendarId, class: requestClass });
    }
    return discoveries.length + calendars.length;
  };
}

/**
 * Ask for a refresh on behalf of a person: the mark first (it alone counts, I6), then the queue, so
 * that it need not wait for the claimer's next look. A queue that cannot be asked costs that wait only.
 */
export function createRefreshNow(
  options: Pick<FeedOptions, "queuedForMs">,
  deps: Pick<FeedDeps, "calendars" | "queue" | "clock"> & {
    readonly onError: (error: unknown) => void;
  },
): (
  calendarId: Parameters<CalendarStore["request"]>[0],
  mode: "incremental" | "full",
) => ReturnType<CalendarStore["request"]> {
  return async (calendarId, mode) => {
    const now = deps.clock.now();
    const marked = await deps.calendars.request(calendarId, {
      class: "interactive",
      dueAt: now,
      mode,
    });
    if (marked !== "marked") return marked;
    // Before the job can run: its end clears the mark, and a mark set after it would hide the row.
    await deps.calendars.markQueued(calendarId, epochMs(now + options.queuedForMs));
    try {
      await deps.queue.add(refreshCalendar, { calendarId, class: "interactive" });
    } catch (error) {
      deps.onError(error);
      await deps.calendars.markQueued(calendarId, now);
    }
    return marked;
  };
}
