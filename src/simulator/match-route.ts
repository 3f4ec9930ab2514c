import type { Operation } from "./api-call.ts";

/** Which operation a path means, with its ids decoded once. */
export interface Route {
  readonly operation: Operation;
  readonly calendarId: string;
  readonly eventId: string;
}

const PREFIX = "/calendar/v3/";

/** Find the operation of a method and path; undefined when there is none, or an id is no valid percent-encoding. */
export function matchRoute(method: string, path: string): Route | undefined {
  if (!path.startsWith(PREFIX)) return undefined;
  const parts = path.slice(PREFIX.length).split("/");
  if (parts[0] === "calendars") return matchCalendar(method, parts);
  const route = `${method} ${parts.join("/")}`;
  if (route === "GET users/me/calendarList") return named("calendarList.list");
  if (route === "POST freeBusy") return named("freebusy.query");
  if (route === "POST channels/stop") return named("channels.stop");
  if (parts.length === 4 && route.startsWith("GET users/me/calendarList/")) {
    return withIds("calendarList.get", parts[3], "");
  }
  return undefined;
}

function matchCalendar(method: string, parts: readonly string[]): Route | undefined {
  const [, calendar, events, event, last] = parts;
  if (parts.length === 2) {
    return method === "GET" ? withIds("calendars.get", calendar, "") : undefined;
  }
  if (events !== "events") return undefined;
  if (parts.length === 3) {
    const operation = COLLECTION_METHODS[method];
    return operation && withIds(operation, calendar, "");
  }
  if (parts.length === 4) return matchEvent(method, calendar, event);
  const isInstances = parts.length === 5 && method === "GET" && last === "instances";
  return isInstances ? withIds("events.instances", calendar, event) : undefined;
}

function matchEvent(
  method: string,
  calendar: string | undefined,
  event: string | undefined,
): Route | undefined {
  if (method === "POST" && event === "watch") return withIds("events.watch", calendar, "");
  const operation = EVENT_METHODS[method];
  return operation && withIds(operation, calendar, event);
}

const COLLECTION_METHODS: Readonly<Record<string, Operation | undefined>> = {
  GET: "events.list",
  POST: "events.insert",
};

const EVENT_METHODS: Readonly<Record<string, Operation | undefined>> = {
  GET: "events.get",
  PUT: "events.update",
  PATCH: "events.patch",
  DELETE: "events.delete",
};

function named(operation: Operation): Route {
  return { operation, calendarId: "", eventId: "" };
}

function withIds(
  operation: Operation,
  calendar: string | undefined,
  event: string | undefined,
): Route | undefined {
  try {
    return {
      operation,
      calendarId: decodeURIComponent(calendar ?? ""),
      eventId: decodeURIComponent(event ?? ""),
    };
  } catch {
    return undefined;
  }
}
