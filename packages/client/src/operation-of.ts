import type { Operation } from "../../../src/core/request.ts";

/** What a request is by Google's own name, and whose calendars it changes when it succeeds. */
export interface NamedRequest {
  readonly operation: Operation;
  readonly changedCalendars: readonly string[];
}

interface Row {
  readonly method: string;
  /** Below `/calendar/v3/`; `*` stands for one segment. */
  readonly path: string;
  readonly operation: Operation;
  /** It writes events of the calendar that its path names. */
  readonly writes?: true;
}

/** In this order: the names below `events` come before an event's id. */
const ROWS: readonly Row[] = [
  { method: "GET", path: "users/me/calendarList", operation: "calendarList.list" },
  { method: "POST", path: "users/me/calendarList/watch", operation: "calendarList.watch" },
  { method: "GET", path: "users/me/calendarList/*", operation: "calendarList.get" },
  { method: "GET", path: "calendars/*", operation: "calendars.get" },
  { method: "POST", path: "calendars/*/clear", operation: "other", writes: true },
  { method: "GET", path: "calendars/*/events", operation: "events.list" },
  { method: "POST", path: "calendars/*/events", operation: "events.insert", writes: true },
  { method: "POST", path: "calendars/*/events/import", operation: "events.import", writes: true },
  {
    method: "POST",
    path: "calendars/*/events/quickAdd",
    operation: "events.quickAdd",
    writes: true,
  },
  { method: "POST", path: "calendars/*/events/watch", operation: "events.watch" },
  { method: "GET", path: "calendars/*/events/*", operation: "events.get" },
  { method: "PUT", path: "calendars/*/events/*", operation: "events.update", writes: true },
  { method: "PATCH", path: "calendars/*/events/*", operation: "events.patch", writes: true },
  { method: "DELETE", path: "calendars/*/events/*", operation: "events.delete", writes: true },
  { method: "GET", path: "calendars/*/events/*/instances", operation: "events.instances" },
  { method: "POST", path: "calendars/*/events/*/move", operation: "events.move", writes: true },
  { method: "POST", path: "channels/stop", operation: "channels.stop" },
  { method: "POST", path: "freeBusy", operation: "freebusy.query" },
];

const API_PATH = "/calendar/v3/";

/** Name a request that is about to be made; what the table does not know is `other`. */
export function nameRequest(request: {
  readonly method: string;
  readonly url: URL;
  /** Where `events.move` moves to. */
  readonly destination?: string | undefined;
}): NamedRequest {
  const { pathname } = request.url;
  const segments = pathname.startsWith(API_PATH) ? pathname.slice(API_PATH.length).split("/") : [];
  const row = ROWS.find((one) => one.method === request.method && fits(one, segments));
  if (row === undefined) return { operation: "other", changedCalendars: [] };
  const { operation } = row;
  const changed = row.writes === true ? [decode(segments[1] ?? "")] : [];
  if (operation === "events.move" && request.destination !== undefined) {
    changed.push(request.destination);
  }
  return { operation, changedCalendars: changed };
}

function fits({ path }: Row, segments: readonly string[]): boolean {
  const pattern = path.split("/");
  return (
    pattern.length === segments.length &&
    pattern.every((part, index) => part === "*" || part === segments[index])
  );
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
