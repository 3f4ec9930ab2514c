import { answerConditionally, readBoolean, readMaxResults, requireCalendar } from "./api-call.ts";
import type { ApiAnswer, ApiCall, ApiContext } from "./api-call.ts";
import { instanceSuffix, momentOf, spanOf, writeMoment, type EventSpan } from "./event-span.ts";
import { badParameter, badRequest, notFound } from "./google-error.ts";
import { readMoment } from "./list-query.ts";
import { listEnvelope } from "./list-envelope.ts";
import { createListTokens } from "./list-tokens.ts";
import { seriesStarts } from "./recurrence.ts";
import type { EventResource } from "./wire-resources.ts";
import { currentVersion } from "./world.ts";
import { utcToWallMs, wallToUtcMs } from "./zone-time.ts";
import type { Calendar, EventHistory } from "./world.ts";

/** The part of a series to expand. */
export interface InstanceRange {
  readonly fromMs?: number;
  readonly toMs: number;
}

/** The instances of a series that touch a range and are not replaced by an exception, in order. */
export function instancesOf(
  calendar: Calendar,
  event: EventHistory,
  range: InstanceRange,
): readonly EventResource[] {
  const master = currentVersion(event).resource;
  const span = spanOf(master, calendar.timeZone);
  if (!span || !master.recurrence) return [];
  const replaced = replacedIds(calendar, event.id);
  const fromMs = range.fromMs ?? Number.NEGATIVE_INFINITY;
  const instances: EventResource[] = [];
  for (const startMs of seriesStarts(master, span, range.toMs)) {
    if (startMs >= range.toMs || instanceEnd(startMs, span) <= fromMs) continue;
    const id = `${event.id}_${instanceSuffix(startMs, span)}`;
    if (!replaced.has(id)) instances.push(instanceAt(calendar, event, startMs));
  }
  return instances;
}

/** One instance as a resource of its own. */
function instanceAt(calendar: Calendar, event: EventHistory, startMs: number): EventResource {
  const master = currentVersion(event).resource;
  const span = spanOf(master, calendar.timeZone);
  if (!span) throw notFound();
  const { recurrence: _, ...rest } = master;
  const start = writeMoment(startMs, span);
  return {
    ...rest,
    id: `${event.id}_${instanceSuffix(startMs, span)}`,
    start,
    end: writeMoment(instanceEnd(startMs, span), {
      ...span,
      zone: endZone(master, span.zone),
    }),
    recurringEventId: event.id,
    originalStartTime: start,
  };
}

/** Days are days, also those of 23 and of 25 hours. */
function instanceEnd(startMs: number, { isAllDay, zone, ...own }: EventSpan): number {
  if (!isAllDay) return startMs + own.endMs - own.startMs;
  const wallMs = utcToWallMs(own.endMs, zone) - utcToWallMs(own.startMs, zone);
  return wallToUtcMs(utcToWallMs(startMs, zone) + wallMs, zone);
}

function endZone(master: EventResource, startZone: string): string {
  return master.end?.timeZone ?? startZone;
}

/** The instance that an id like `master_20260101T100000Z` names; undefined when the series has none there. */
export function findInstance(calendar: Calendar, instanceId: string): EventResource | undefined {
  const at = instanceId.lastIndexOf("_");
  const master = at < 0 ? undefined : calendar.eventsById.get(instanceId.slice(0, at));
  const resource = master && currentVersion(master).resource;
  if (!master || !resource?.recurrence || resource.status === "cancelled") return undefined;
  const span = spanOf(resource, calendar.timeZone);
  const suffix = instanceId.slice(at + 1);
  const aboutMs = suffixDayMs(suffix);
  if (!span || aboutMs === undefined) return undefined;
  const startMs = seriesStarts(resource, span, aboutMs + 2 * 86_400_000).find(
    (candidate) => instanceSuffix(candidate, span) === suffix,
  );
  return startMs === undefined ? undefined : instanceAt(calendar, master, startMs);
}

function suffixDayMs(suffix: string): number | undefined {
  const [, year = "", month = "", day = ""] = /^(\d{4})(\d{2})(\d{2})/.exec(suffix) ?? [];
  const dayMs = Date.parse(`${year}-${month}-${day}T00:00:00Z`);
  return Number.isNaN(dayMs) ? undefined : dayMs;
}

/** The exceptions a series has, cancelled ones included. */
export function exceptionsOf(calendar: Calendar, masterId: string): readonly EventHistory[] {
  return (calendar.exceptions.get(masterId) ?? []).flatMap(
    (ordinal) => calendar.events.items[ordinal] ?? [],
  );
}

/** `events.instances`: the series' own instances and its exceptions, ordered by original start. */
export function listInstances(call: ApiCall, context: ApiContext): ApiAnswer {
  const calendar = requireCalendar(call, context, "reader");
  const event = calendar.eventsById.get(call.eventId);
  if (!event) throw notFound();
  if (!currentVersion(event).resource.recurrence) {
    throw badRequest("Instances can only be listed for recurring events.");
  }
  const query = readInstanceQuery(call, context.world.nowMs());
  const rows = instanceResources(calendar, event, query);
  const tokens = createListTokens({
    secret: context.world.secret,
    listing: `${calendar.id}/${event.id}`,
    fingerprint: "instances",
  });
  const pageToken = call.query.get("pageToken");
  const offset = pageToken === null ? 0 : tokens.readPage(pageToken).nextOrdinal;
  const maxResults = readMaxResults(call.query, { byDefault: 250, cap: 2500 });
  const next = offset + maxResults;
  const position = {
    startRevision: 0,
    sinceRevision: -1,
    nextOrdinal: next,
    skip: 0,
    query: "",
  };
  const answer = listEnvelope(call, calendar, {
    items: rows.slice(offset, next).map((row) => JSON.stringify(row)),
    ...(next < rows.length ? { nextPageToken: tokens.writePage(position) } : {}),
  });
  return answerConditionally(call, answer);
}

interface InstanceQuery extends InstanceRange {
  readonly originalStart: string | null;
  readonly showDeleted: boolean;
}

function readInstanceQuery(call: ApiCall, nowMs: number): InstanceQuery {
  const fromMs = readMoment(call.query, "timeMin");
  const toMs = readMoment(call.query, "timeMax") ?? nowMs + 366 * 86_400_000;
  if (fromMs !== undefined && toMs <= fromMs) {
    throw badParameter("timeMax", "The specified time range is empty.", "timeRangeEmpty");
  }
  return {
    ...(fromMs === undefined ? {} : { fromMs }),
    toMs,
    originalStart: call.query.get("originalStart"),
    showDeleted: readBoolean(call.query, "showDeleted") ?? false,
  };
}

function instanceResources(
  calendar: Calendar,
  event: EventHistory,
  query: InstanceQuery,
): readonly EventResource[] {
  const exceptions = exceptionsOf(calendar, event.id)
    .map((exception) => currentVersion(exception).resource)
    .filter((resource) => query.showDeleted || resource.status !== "cancelled")
    .filter((resource) => {
      const span = spanOf(resource, calendar.timeZone);
      return !span || (span.startMs < query.toMs && span.endMs > (query.fromMs ?? -Infinity));
    });
  const originalMs = (resource: EventResource): number =>
    momentOf(resource.originalStartTime, calendar.timeZone) ?? 0;
  const wantedMs = query.originalStart === null ? undefined : Date.parse(query.originalStart);
  return [...instancesOf(calendar, event, query), ...exceptions]
    .filter((resource) => wantedMs === undefined || originalMs(resource) === wantedMs)
    .toSorted((left, right) => originalMs(left) - originalMs(right));
}

function replacedIds(calendar: Calendar, masterId: string): Set<string> {
  return new Set(exceptionsOf(calendar, masterId).map((exception) => exception.id));
}
