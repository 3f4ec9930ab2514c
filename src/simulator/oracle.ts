import { visibleForm } from "./event-rows.ts";
import type { EventResource } from "./wire-resources.ts";
import { currentVersion } from "./world.ts";
import type { Calendar } from "./world.ts";

/** One event through time, as the wire showed it. */
export interface OracleEvent {
  readonly id: string;
  readonly versions: readonly {
    readonly fromMs: number;
    /** Undefined: current. */
    readonly toMs: number | undefined;
    readonly resource: EventResource;
  }[];
}

/** The truth about one calendar. */
export interface OracleReport {
  readonly calendar: string;
  readonly revision: number;
  readonly nowMs: number;
  /** Exactly what a full `events.list` (masters and exceptions) would give now. */
  readonly current: readonly EventResource[];
  readonly events: readonly OracleEvent[];
}

/** Tell everything about a calendar's events, deleted ones included. */
export function consultOracle(calendar: Calendar, nowMs: number): OracleReport {
  const isLiving = (id: string | null | undefined): boolean => {
    const event = calendar.eventsById.get(id ?? "");
    return event !== undefined && currentVersion(event).resource.status !== "cancelled";
  };
  return {
    calendar: calendar.id,
    revision: calendar.events.revision(),
    nowMs,
    current: calendar.events.items
      .map((event) => currentVersion(event).resource)
      .filter((event) => event.status !== "cancelled" || isLiving(event.recurringEventId))
      .map(visibleForm),
    events: calendar.events.items.map((event) => ({
      id: event.id,
      versions: event.versions.map((version, index) => ({
        fromMs: version.fromMs,
        toMs: event.versions[index + 1]?.fromMs,
        resource: visibleForm(version.resource),
      })),
    })),
  };
}
