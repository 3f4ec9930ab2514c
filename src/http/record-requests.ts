import type { CalendarStore, RefreshRequest, RequestOutcome } from "../core/calendar-store.ts";
import type { Clock } from "../core/clock.ts";
import { createGroupWork } from "./group-work.ts";

/** Marks calendars as wanted; resolves when the mark is in the database. */
export interface RequestRecorder {
  record(request: RefreshRequest): Promise<RequestOutcome>;
  close(): Promise<void>;
}

const GROUPS = { what: "Marking calendars", gatherMs: 10, groupLimit: 500, mostWaiting: 5_000 };

/**
 * Wishes of a moment are written together, one for each calendar. Who asks while a group is at work waits
 * for the next one: what that group saw may be older than the wish (I6).
 */
export function createRequestRecorder(deps: {
  readonly calendars: Pick<CalendarStore, "requestMany">;
  readonly clock: Clock;
}): RequestRecorder {
  const work = createGroupWork<RefreshRequest, RequestOutcome>(GROUPS, {
    clock: deps.clock,
    // A person's wish goes before; keyed by class, so that a poll's never lends it its later time.
    merge: (before) => before,
    run: (requests) => markInTurns(deps.calendars, requests),
  });
  return {
    record: (request) => work.add(`${request.class} ${request.calendarId}`, request),
    close: () => work.close(),
  };
}

/** One mark for each calendar: where both a person and a poll ask, the person's first. */
async function markInTurns(
  calendars: Pick<CalendarStore, "requestMany">,
  requests: readonly RefreshRequest[],
): Promise<readonly RequestOutcome[]> {
  const first = new Map<string, RefreshRequest>();
  for (const request of requests) {
    const other = first.get(request.calendarId);
    if (other === undefined || request.class === "interactive") {
      first.set(request.calendarId, request);
    }
  }
  const asked = [...first.values()];
  const outcomes = await calendars.requestMany(asked);
  const byId = new Map(asked.map(({ calendarId }, at) => [calendarId, outcomes[at]]));
  return requests.map(({ calendarId }) => byId.get(calendarId) ?? { kind: "unknown-calendar" });
}
