import { describe, expect, test } from "vitest";
import { calendar_v3 } from "@googleapis/calendar";
import { nameRequest } from "../../packages/client/src/operation-of.ts";
import { OPERATIONS } from "../../src/core/request.ts";

const ROOT = "https://calendar.example.test/";

/** What the generated client asks for, taken from its own mouth. */
async function requestOf(
  call: (client: calendar_v3.Calendar) => Promise<unknown>,
): Promise<ReturnType<typeof nameRequest>> {
  let seen: ReturnType<typeof nameRequest> | undefined;
  const send: typeof fetch = (input, init) => {
    const url = new URL(input instanceof Request ? input.url : String(input));
    const destination = url.searchParams.get("destination") ?? undefined;
    seen = nameRequest({ method: init?.method ?? "GET", url, destination });
    return Promise.resolve(new Response("{}", { headers: { "content-type": "application/json" } }));
  };
  await call(new calendar_v3.Calendar({ rootUrl: ROOT, fetchImplementation: send }));
  if (seen === undefined) throw new Error("Nothing was asked for");
  return seen;
}

const calendarId = "team/a#1@group.example";
const eventId = "e1";

describe("a request of the usual client", () => {
  test.for<[string, (client: calendar_v3.Calendar) => Promise<unknown>, string[]]>([
    ["calendarList.list", (c) => c.calendarList.list(), []],
    ["calendarList.get", (c) => c.calendarList.get({ calendarId }), []],
    ["calendarList.watch", (c) => c.calendarList.watch({ requestBody: {} }), []],
    ["calendars.get", (c) => c.calendars.get({ calendarId }), []],
    ["events.list", (c) => c.events.list({ calendarId }), []],
    ["events.get", (c) => c.events.get({ calendarId, eventId }), []],
    ["events.get", (c) => c.events.get({ calendarId, eventId: "import" }), []],
    ["events.insert", (c) => c.events.insert({ calendarId }), [calendarId]],
    ["events.import", (c) => c.events.import({ calendarId }), [calendarId]],
    ["events.quickAdd", (c) => c.events.quickAdd({ calendarId, text: "x" }), [calendarId]],
    ["events.update", (c) => c.events.update({ calendarId, eventId }), [calendarId]],
    ["events.patch", (c) => c.events.patch({ calendarId, eventId }), [calendarId]],
    ["events.delete", (c) => c.events.delete({ calendarId, eventId }), [calendarId]],
    [
      "events.move",
      (c) => c.events.move({ calendarId, eventId, destination: "other@example" }),
      [calendarId, "other@example"],
    ],
    ["events.instances", (c) => c.events.instances({ calendarId, eventId }), []],
    ["events.watch", (c) => c.events.watch({ calendarId, requestBody: {} }), []],
    ["channels.stop", (c) => c.channels.stop({ requestBody: {} }), []],
    ["freebusy.query", (c) => c.freebusy.query({ requestBody: {} }), []],
    ["other", (c) => c.calendars.clear({ calendarId }), [calendarId]],
    ["other", (c) => c.colors.get(), []],
    ["other", (c) => c.acl.list({ calendarId }), []],
    ["other", (c) => c.settings.list(), []],
  ])("is %s, and names what it changes", async ([operation, call, changedCalendars]) => {
    expect(await requestOf(call)).toEqual({ operation, changedCalendars });
    expect(OPERATIONS).toContain(operation);
  });
});

test("what is no request to the calendar has no name and changes nothing", () => {
  for (const path of ["", "calendar/v3/", "calendar/v3/calendars/%/events/a/b/c", "drive/v3/x"]) {
    const named = nameRequest({ method: "POST", url: new URL(path, ROOT) });
    expect(named).toEqual({ operation: "other", changedCalendars: [] });
  }
});
