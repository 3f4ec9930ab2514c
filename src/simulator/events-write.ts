import { answerConditionally, requireCalendar, roleOf } from "./api-call.ts";
import type { ApiAnswer, ApiCall, ApiContext } from "./api-call.ts";
import { readBody } from "./check-body.ts";
import { clientFields, mergePatch, normalizeEvent } from "./event-body.ts";
import { withoutPrivateDetails } from "./event-rows.ts";
import { applyFieldMask, parseFieldMask } from "./field-mask.ts";
import { GoogleError, badRequest, notFound } from "./google-error.ts";
import { exceptionsOf, findInstance } from "./instances.ts";
import { checksum } from "./random.ts";
import type { EventResource } from "./wire-resources.ts";
import { currentVersion } from "./world.ts";
import type { Calendar, World } from "./world.ts";

/** `events.get`: masters, exceptions, single instances; cancelled events are shown as such. */
export function getEvent(call: ApiCall, context: ApiContext): ApiAnswer {
  const calendar = requireCalendar(call, context, "reader");
  const resource = findEvent(calendar, call.eventId);
  const isHidden = roleOf(call.account, calendar) === "reader";
  return answerConditionally(
    call,
    answerWith(call, isHidden ? withoutPrivateDetails(resource) : resource),
  );
}

/** `events.insert`. */
export function insertEvent(call: ApiCall, context: ApiContext): ApiAnswer {
  const calendar = requireCalendar(call, context, "writer");
  const fields = clientFields(readBody(call.body, "Event"));
  const resource = newEvent(calendar, fields, context.world);
  if (calendar.eventsById.has(resource.id ?? "")) {
    throw new GoogleError({
      status: 409,
      reason: "duplicate",
      message: "The requested identifier already exists.",
    });
  }
  return answerWith(call, write(context.world, calendar, resource));
}

/** `events.update`: replaces what clients may write. */
export function updateEvent(call: ApiCall, context: ApiContext): ApiAnswer {
  const calendar = requireCalendar(call, context, "writer");
  const before = findEvent(calendar, call.eventId);
  requireMatch(call, before);
  const fields = clientFields(readBody(call.body, "Event"));
  return change({ call, context, calendar, before }, { ...fields, ...identityOf(before) });
}

/** `events.patch`: merges. */
export function patchEvent(call: ApiCall, context: ApiContext): ApiAnswer {
  const calendar = requireCalendar(call, context, "writer");
  const before = findEvent(calendar, call.eventId);
  requireMatch(call, before);
  const { id: _, ...fields } = readBody(call.body, "Event");
  const merged = mergePatch({ ...before }, fields);
  return change({ call, context, calendar, before }, { ...merged, ...identityOf(before) });
}

/** `events.delete`: a tombstone; of a series, one for each exception, too. */
export function deleteEvent(call: ApiCall, context: ApiContext): ApiAnswer {
  const calendar = requireCalendar(call, context, "writer");
  const before = findEvent(calendar, call.eventId);
  requireMatch(call, before);
  if (before.status === "cancelled") {
    throw new GoogleError({
      status: 410,
      reason: "deleted",
      message: "Resource has been deleted",
    });
  }
  cancelEvent(context.world, calendar, before);
  return { status: 204, body: undefined };
}

/** Cancel an event and, when it is a series, its exceptions: they have nothing left to be exceptions of. */
export function cancelEvent(world: World, calendar: Calendar, event: EventResource): void {
  write(world, calendar, { ...event, status: "cancelled" });
  for (const exception of exceptionsOf(calendar, event.id ?? "")) {
    const { resource } = currentVersion(exception);
    if (resource.status !== "cancelled")
      write(world, calendar, { ...resource, status: "cancelled" });
  }
}

/** A complete new event from what a client said; throws 400 when that does not make one. */
export function newEvent(calendar: Calendar, fields: EventResource, world: World): EventResource {
  if (typeof fields.id === "string" && !/^[a-v0-9]{5,1024}$/.test(fields.id)) {
    throw badRequest("Invalid resource id value.");
  }
  const nowMs = world.nowMs();
  const id = fields.id ?? newEventId(calendar, world);
  const { originalStartTime: _, recurringEventId: __, ...own } = fields;
  return {
    kind: "calendar#event",
    ...normalizeEvent(own, calendar),
    id,
    htmlLink: `https://www.google.com/calendar/event?eid=${Buffer.from(id).toString("base64url")}`,
    created: new Date(nowMs).toISOString(),
    creator: { email: calendar.ownerEmail, ...selfOf(calendar) },
    organizer: { email: calendar.id, displayName: calendar.summary, self: true },
    iCalUID: fields.iCalUID ?? `${id}@google.com`,
    sequence: fields.sequence ?? 0,
    reminders: fields.reminders ?? { useDefault: true },
  };
}

/** The next state of an event after an edit: its sequence rises when its time changes. */
export function editedEvent(
  calendar: Calendar,
  before: EventResource,
  fields: EventResource,
): EventResource {
  const after = normalizeEvent(fields, calendar);
  const hasMoved =
    JSON.stringify([before.start, before.end, before.recurrence]) !==
    JSON.stringify([after.start, after.end, after.recurrence]);
  return { ...after, sequence: (before.sequence ?? 0) + (hasMoved ? 1 : 0) };
}

/** Store an edit. A series that comes back brings its cancelled instances along, so that a delta tells all of it. */
export function storeEdit(
  world: World,
  calendar: Calendar,
  edit: { readonly before: EventResource; readonly after: EventResource },
): EventResource {
  const stored = write(world, calendar, edit.after);
  if (edit.before.status !== "cancelled") return stored;
  for (const exception of exceptionsOf(calendar, stored.id ?? "")) {
    write(world, calendar, currentVersion(exception).resource);
  }
  return stored;
}

/** A stored event, or an instance of a series that has no exception there yet; 404 when neither. */
export function findEvent(calendar: Calendar, eventId: string): EventResource {
  const event = calendar.eventsById.get(eventId);
  const resource = event ? currentVersion(event).resource : findInstance(calendar, eventId);
  if (!resource) throw notFound();
  return resource;
}

interface Change {
  readonly call: ApiCall;
  readonly context: ApiContext;
  readonly calendar: Calendar;
  readonly before: EventResource;
}

function change({ call, context, calendar, before }: Change, fields: EventResource): ApiAnswer {
  const after = editedEvent(calendar, before, fields);
  if (after.status === "cancelled") {
    cancelEvent(context.world, calendar, before);
    return answerWith(call, findEvent(calendar, before.id ?? ""));
  }
  return answerWith(call, storeEdit(context.world, calendar, { before, after }));
}

function write(world: World, calendar: Calendar, resource: EventResource): EventResource {
  return currentVersion(world.putEvent(calendar, resource)).resource;
}

/** What no client can change. */
function identityOf(before: EventResource): EventResource {
  const { id, created, creator, organizer, htmlLink, iCalUID } = before;
  const { recurringEventId, originalStartTime } = before;
  return Object.fromEntries(
    Object.entries({
      id,
      created,
      creator,
      organizer,
      htmlLink,
      iCalUID,
      recurringEventId,
      originalStartTime,
    }).filter(([, value]) => value !== undefined),
  );
}

function selfOf(calendar: Calendar): { self?: true } {
  return calendar.id === calendar.ownerEmail ? { self: true } : {};
}

/** Unique in its calendar and the same in every run that does the same. */
function newEventId(calendar: Calendar, world: World): string {
  const place = `${calendar.id}/${calendar.events.revision()}`;
  const digits = `${checksum(world.secret, place)}${checksum(place, world.secret)}`;
  return digits.replaceAll(/[w-z]/g, "v").padEnd(26, "0").slice(0, 26);
}

function requireMatch(call: ApiCall, before: EventResource): void {
  if (call.ifMatch === undefined || call.ifMatch === "*" || call.ifMatch === before.etag) return;
  throw new GoogleError({
    status: 412,
    reason: "conditionNotMet",
    message: "Precondition Failed",
    locationType: "header",
    location: "If-Match",
  });
}

function answerWith(call: ApiCall, resource: EventResource): ApiAnswer {
  const fields = call.query.get("fields");
  const shown = fields === null ? resource : applyFieldMask(resource, parseFieldMask(fields));
  return { status: 200, body: JSON.stringify(shown), etag: resource.etag ?? undefined };
}
