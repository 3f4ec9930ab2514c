import { isAtLeast, roleOf } from "./api-call.ts";
import type { ApiAnswer, ApiCall, ApiContext } from "./api-call.ts";
import { isRecord, readBody } from "./check-body.ts";
import { parseDateTime, spanOf } from "./event-span.ts";
import { GoogleError, badRequest } from "./google-error.ts";
import { instancesOf } from "./instances.ts";
import type { EventResource, FreeBusyResponse } from "./wire-resources.ts";
import { currentVersion } from "./world.ts";
import type { Account, Calendar, World } from "./world.ts";
import { isTimeZone } from "./zone-time.ts";

const MAX_CALENDARS = 50;
const NEVER_BUSY = new Set(["workingLocation", "birthday"]);

interface Range {
  readonly fromMs: number;
  readonly toMs: number;
}

/** `freebusy.query`: busy times of several calendars; a calendar's own problem is an entry inside the 200. */
export function queryFreeBusy(call: ApiCall, context: ApiContext): ApiAnswer {
  const request = readBody(call.body, "FreeBusyRequest");
  const range = readRange(request);
  const items = Array.isArray(request["items"]) ? request["items"] : [];
  const calendars: NonNullable<FreeBusyResponse["calendars"]> = {};
  for (const [index, item] of items.entries()) {
    const id = isRecord(item) && typeof item["id"] === "string" ? item["id"] : "";
    calendars[id] =
      index < MAX_CALENDARS
        ? busyOf(findCalendar(context.world, call.account, id), range)
        : { errors: [{ domain: "global", reason: "tooManyCalendarsRequested" }], busy: [] };
  }
  const response: FreeBusyResponse = {
    kind: "calendar#freeBusy",
    timeMin: new Date(range.fromMs).toISOString(),
    timeMax: new Date(range.toMs).toISOString(),
    calendars,
  };
  return { status: 200, body: JSON.stringify(response) };
}

function readRange(request: Record<string, unknown>): Range {
  const zone = request["timeZone"];
  if (typeof zone === "string" && !isTimeZone(zone)) throw badRequest("Invalid time zone.");
  const [fromMs, toMs] = ["timeMin", "timeMax"].map((name) => {
    const text = request[name];
    if (typeof text !== "string") throw badRequest(`Missing ${name} parameter.`, "required");
    const atMs = parseDateTime(text, undefined);
    if (atMs === undefined) throw badRequest("Bad Request", "badRequest");
    return atMs;
  });
  if (fromMs === undefined || toMs === undefined || toMs <= fromMs) {
    throw new GoogleError({
      status: 400,
      domain: "calendar",
      reason: "timeRangeEmpty",
      message: "The specified time range is empty.",
      locationType: "parameter",
      location: "timeMax",
    });
  }
  return { fromMs, toMs };
}

function findCalendar(world: World, account: Account, id: string): Calendar | undefined {
  const calendar = world.calendars.get(id === "primary" ? account.email : id);
  return calendar && isAtLeast(roleOf(account, calendar), "freeBusyReader") ? calendar : undefined;
}

function busyOf(
  calendar: Calendar | undefined,
  range: Range,
): NonNullable<FreeBusyResponse["calendars"]>[string] {
  if (!calendar) return { errors: [{ domain: "global", reason: "notFound" }], busy: [] };
  const spans = calendar.events.items
    .flatMap((event) => {
      const { resource } = currentVersion(event);
      const isSeries = resource.recurrence && resource.status !== "cancelled";
      return isSeries ? instancesOf(calendar, event, range) : [resource];
    })
    .filter(isBusy)
    .flatMap((resource) => spanOf(resource, calendar.timeZone) ?? [])
    .filter((span) => span.startMs < range.toMs && span.endMs > range.fromMs)
    .toSorted((left, right) => left.startMs - right.startMs);
  const busy: { startMs: number; endMs: number }[] = [];
  for (const span of spans) {
    const last = busy.at(-1);
    if (last && span.startMs <= last.endMs) last.endMs = Math.max(last.endMs, span.endMs);
    else busy.push({ startMs: span.startMs, endMs: span.endMs });
  }
  return {
    busy: busy.map(({ startMs, endMs }) => ({
      start: new Date(Math.max(startMs, range.fromMs)).toISOString().replace(".000Z", "Z"),
      end: new Date(Math.min(endMs, range.toMs)).toISOString().replace(".000Z", "Z"),
    })),
  };
}

function isBusy(event: EventResource): boolean {
  if (event.status === "cancelled" || event.transparency === "transparent") return false;
  if (NEVER_BUSY.has(event.eventType ?? "default")) return false;
  return !event.attendees?.some((one) => one.self === true && one.responseStatus === "declined");
}
