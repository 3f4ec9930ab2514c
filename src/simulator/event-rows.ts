import { applyFieldMask, parseFieldMask } from "./field-mask.ts";
import { momentOf, spanOf } from "./event-span.ts";
import { instancesOf } from "./instances.ts";
import type { EventRestrictions, ListQuery } from "./list-query.ts";
import { seriesStarts } from "./recurrence.ts";
import type { EventResource } from "./wire-resources.ts";
import { currentVersion } from "./world.ts";
import type { Calendar, EventHistory, EventVersion } from "./world.ts";

/** What decides which rows an event gives to a listing. */
export interface RowRules {
  readonly query: Pick<ListQuery, "singleEvents" | "showDeleted" | "eventTypes">;
  readonly restrictions: EventRestrictions;
  /** Deltas show deletions; full lists do not. */
  readonly isDelta: boolean;
  /** The mask of one item, as text; undefined: everything. */
  readonly itemMask: string | undefined;
  /** A reader sees of a private event only when it is. */
  readonly hidesPrivate: boolean;
  readonly nowMs: number;
}

/** One row of a listing: its JSON, and what it may be ordered by. */
export interface EventRow {
  readonly json: string;
  readonly resource: EventResource;
}

/** The rows one event gives to a listing, in order; usually one or none. */
export function rowsOf(
  calendar: Calendar,
  event: EventHistory,
  rules: RowRules,
): readonly EventRow[] {
  const version = currentVersion(event);
  const { resource } = version;
  if (!isListed(calendar, resource, rules)) return [];
  if (rules.query.singleEvents && resource.recurrence && resource.status !== "cancelled") {
    return instanceRows(calendar, event, rules);
  }
  if (!matches(calendar, resource, rules)) return [];
  return [{ json: rowJson(version, rules), resource }];
}

/** A tombstone as lists show it: Google promises no more than this. */
export function visibleForm(resource: EventResource): EventResource {
  if (resource.status !== "cancelled") return resource;
  const { kind, etag, id, status, recurringEventId, originalStartTime } = resource;
  return {
    ...(kind === undefined ? {} : { kind }),
    ...(etag === undefined ? {} : { etag }),
    ...(id === undefined ? {} : { id }),
    status,
    ...(recurringEventId === undefined ? {} : { recurringEventId }),
    ...(originalStartTime === undefined ? {} : { originalStartTime }),
  };
}

/** What someone who may read, but not see private details, is shown. */
export function withoutPrivateDetails(resource: EventResource): EventResource {
  if (resource.visibility !== "private" && resource.visibility !== "confidential") return resource;
  const { kind, id, status, htmlLink, created, updated, iCalUID, start, end } = resource;
  const { recurrence, recurringEventId, originalStartTime, visibility, transparency } = resource;
  // Another etag than the full view's: who gains the right to see more must not take the two for the same.
  const etag = resource.etag?.replace(/"$/, 'r"');
  const kept = { kind, etag, id, status, htmlLink, created, updated, iCalUID, start, end };
  const also = { recurrence, recurringEventId, originalStartTime, visibility, transparency };
  return Object.fromEntries(
    Object.entries({ ...kept, ...also }).filter(([, value]) => value !== undefined),
  );
}

function isListed(calendar: Calendar, resource: EventResource, rules: RowRules): boolean {
  if (resource.status !== "cancelled" || rules.isDelta || rules.query.showDeleted) return true;
  if (rules.restrictions.updatedMinMs !== undefined) return true;
  if (rules.query.singleEvents || typeof resource.recurringEventId !== "string") return false;
  const master = calendar.eventsById.get(resource.recurringEventId);
  return master !== undefined && currentVersion(master).resource.status !== "cancelled";
}

function instanceRows(calendar: Calendar, event: EventHistory, rules: RowRules): EventRow[] {
  const { timeMinMs, timeMaxMs } = rules.restrictions;
  const instances = instancesOf(calendar, event, {
    ...(timeMinMs === undefined ? {} : { fromMs: timeMinMs }),
    // Without an upper bound Google, too, stops expanding somewhere; a year is enough to test against.
    toMs: timeMaxMs ?? rules.nowMs + 366 * 86_400_000,
  });
  return instances
    .filter((resource) => matches(calendar, resource, rules))
    .map((resource) => ({ json: plainJson(resource, rules), resource }));
}

function rowJson(version: EventVersion, rules: RowRules): string {
  const { resource } = version;
  if (rules.hidesPrivate && resource.visibility !== undefined) return plainJson(resource, rules);
  if (rules.itemMask === undefined) return (version.json ??= JSON.stringify(visibleForm(resource)));
  if (version.masked?.mask === rules.itemMask) return version.masked.json;
  const json = plainJson(resource, rules);
  version.masked = { mask: rules.itemMask, json };
  return json;
}

function plainJson(resource: EventResource, rules: RowRules): string {
  const visible = visibleForm(rules.hidesPrivate ? withoutPrivateDetails(resource) : resource);
  if (rules.itemMask === undefined) return JSON.stringify(visible);
  return JSON.stringify(applyFieldMask(visible, parseFieldMask(rules.itemMask)));
}

function matches(calendar: Calendar, resource: EventResource, rules: RowRules): boolean {
  const { restrictions, query } = rules;
  if (resource.status === "cancelled" && rules.isDelta) return true;
  if (query.eventTypes.length > 0 && !query.eventTypes.includes(resource.eventType ?? "default")) {
    return false;
  }
  return (
    isInTime(calendar, resource, restrictions) &&
    isUpdatedSince(resource, restrictions.updatedMinMs) &&
    saysSo(resource, restrictions)
  );
}

function saysSo(resource: EventResource, restrictions: EventRestrictions): boolean {
  return (
    (restrictions.iCalUID === undefined || resource.iCalUID === restrictions.iCalUID) &&
    (restrictions.q === undefined || mentions(resource, restrictions.q)) &&
    hasProperties(resource.extendedProperties?.private, restrictions.privateProperties) &&
    hasProperties(resource.extendedProperties?.shared, restrictions.sharedProperties)
  );
}

function isUpdatedSince(resource: EventResource, updatedMinMs: number | undefined): boolean {
  return updatedMinMs === undefined || Date.parse(resource.updated ?? "") >= updatedMinMs;
}

function isInTime(
  calendar: Calendar,
  resource: EventResource,
  { timeMinMs, timeMaxMs }: EventRestrictions,
): boolean {
  if (timeMinMs === undefined && timeMaxMs === undefined) return true;
  const span = spanOf(resource, calendar.timeZone);
  if (!span) return momentOf(resource.originalStartTime, calendar.timeZone) !== undefined;
  const durationMs = span.endMs - span.startMs;
  const from = timeMinMs ?? Number.NEGATIVE_INFINITY;
  const until = timeMaxMs ?? Number.POSITIVE_INFINITY;
  if (!resource.recurrence) return span.startMs < until && span.endMs > from;
  const reach = Math.min(until, Math.max(from, span.startMs) + 5 * 366 * 86_400_000);
  return seriesStarts(resource, span, reach).some(
    (startMs) => startMs < until && startMs + durationMs > from,
  );
}

function mentions(resource: EventResource, q: string): boolean {
  const people = [resource.organizer, ...(resource.attendees ?? [])];
  const text = [
    resource.summary,
    resource.description,
    resource.location,
    ...people.flatMap((person) => [person?.displayName, person?.email]),
  ]
    .join("\n")
    .toLowerCase();
  return q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

function hasProperties(
  properties: Record<string, string> | undefined,
  wanted: readonly string[] | undefined,
): boolean {
  return (wanted ?? []).every((pair) => {
    const equals = pair.indexOf("=");
    return properties?.[pair.slice(0, equals)] === pair.slice(equals + 1);
  });
}
