import { readBoolean, readMaxResults } from "./api-call.ts";
import { parseDateTime } from "./event-span.ts";
import { GoogleError, badParameter } from "./google-error.ts";

/** The restrictions of an `events.list` query: what its sync tokens encode. */
export interface EventRestrictions {
  readonly timeMinMs?: number;
  readonly timeMaxMs?: number;
  readonly updatedMinMs?: number;
  readonly q?: string;
  readonly iCalUID?: string;
  readonly privateProperties?: readonly string[];
  readonly sharedProperties?: readonly string[];
}

/** An `events.list` query, read and checked. */
export interface ListQuery {
  readonly maxResults: number;
  readonly pageToken: string | null;
  readonly syncToken: string | null;
  readonly singleEvents: boolean;
  readonly showDeleted: boolean;
  readonly orderBy: "startTime" | "updated" | undefined;
  readonly eventTypes: readonly string[];
  readonly timeZone: string | null;
  readonly restrictions: EventRestrictions;
  /** Whether its last page carries a sync token. */
  readonly isSyncable: boolean;
  /** The parameters that must stay equal from request to request. */
  readonly fingerprint: string;
}

const REFUSED_WITH_SYNC_TOKEN = [
  "iCalUID",
  "orderBy",
  "privateExtendedProperty",
  "q",
  "sharedExtendedProperty",
  "timeMin",
  "timeMax",
  "updatedMin",
] as const;
const PART_OF_FINGERPRINT = ["singleEvents", "showHiddenInvitations", "maxAttendees", "timeZone"];

/** Read an `events.list` query; throws 400 as Google does. */
export function readListQuery(query: URLSearchParams): ListQuery {
  const syncToken = query.get("syncToken");
  if (syncToken !== null) refuseWithSyncToken(query);
  const singleEvents = readBoolean(query, "singleEvents") ?? false;
  const orderBy = readOrder(query, singleEvents);
  const restrictions = readRestrictions(query);
  const eventTypes = query.getAll("eventTypes").toSorted();
  const fixed = PART_OF_FINGERPRINT.map((name) => query.get(name) ?? "");
  return {
    maxResults: readMaxResults(query, { byDefault: 250, cap: 2500 }),
    pageToken: query.get("pageToken"),
    syncToken,
    singleEvents,
    showDeleted: readBoolean(query, "showDeleted") ?? false,
    orderBy,
    eventTypes,
    timeZone: query.get("timeZone"),
    restrictions,
    isSyncable: [
      "q",
      "iCalUID",
      "orderBy",
      "updatedMin",
      "privateExtendedProperty",
      "sharedExtendedProperty",
    ].every((name) => !query.has(name)),
    fingerprint: [...fixed, orderBy ?? "", ...eventTypes].join("&"),
  };
}

function refuseWithSyncToken(query: URLSearchParams): void {
  const refused =
    REFUSED_WITH_SYNC_TOKEN.find((name) => query.has(name)) ??
    (readBoolean(query, "showDeleted") === false ? "showDeleted" : undefined);
  if (refused === undefined) return;
  throw new GoogleError({
    status: 400,
    domain: "calendar",
    reason: "syncTokenWithRequestRestrictions",
    message: "Sync token cannot be used with other request restrictions.",
    locationType: "parameter",
    location: refused,
  });
}

function readOrder(query: URLSearchParams, singleEvents: boolean): ListQuery["orderBy"] {
  const orderBy = query.get("orderBy");
  if (orderBy === null) return undefined;
  if (orderBy === "updated") return orderBy;
  if (orderBy !== "startTime") {
    throw badParameter(
      "orderBy",
      `Invalid string value: '${orderBy}'. Allowed values: [startTime, updated]`,
      "invalidParameter",
    );
  }
  if (!singleEvents) {
    throw badParameter(
      "orderBy",
      "The requested ordering is not available for the particular query.",
    );
  }
  return orderBy;
}

/** An RFC 3339 parameter with its mandatory offset. */
export function readMoment(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const atMs = parseDateTime(text, undefined);
  if (atMs === undefined) throw badParameter(name, "Bad Request", "badRequest");
  return atMs;
}

function readRestrictions(query: URLSearchParams): EventRestrictions {
  const timeMinMs = readMoment(query, "timeMin");
  const timeMaxMs = readMoment(query, "timeMax");
  const updatedMinMs = readMoment(query, "updatedMin");
  if (timeMinMs !== undefined && timeMaxMs !== undefined && timeMaxMs <= timeMinMs) {
    throw new GoogleError({
      status: 400,
      domain: "calendar",
      reason: "timeRangeEmpty",
      message: "The specified time range is empty.",
      locationType: "parameter",
      location: "timeMax",
    });
  }
  const q = query.get("q");
  const iCalUID = query.get("iCalUID");
  const privateProperties = query.getAll("privateExtendedProperty");
  const sharedProperties = query.getAll("sharedExtendedProperty");
  return {
    ...(timeMinMs === undefined ? {} : { timeMinMs }),
    ...(timeMaxMs === undefined ? {} : { timeMaxMs }),
    ...(updatedMinMs === undefined ? {} : { updatedMinMs }),
    ...(q === null ? {} : { q }),
    ...(iCalUID === null ? {} : { iCalUID }),
    ...(privateProperties.length === 0 ? {} : { privateProperties }),
    ...(sharedProperties.length === 0 ? {} : { sharedProperties }),
  };
}
