import { existsSync, readFileSync } from "node:fs";
import { calendar as createCalendar } from "@googleapis/calendar";
import type { calendar_v3 } from "@googleapis/calendar";
import { OAuth2Client } from "google-auth-library";
import { afterAll, beforeAll, expect, test } from "vitest";
import schemas from "../../src/simulator/google-schemas.json" with { type: "json" };
import { createSimulator } from "../../src/simulator/simulator.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import { problemsOf } from "../support/google-shape.ts";

function clientOf(simulator: Simulator, refreshToken: string): calendar_v3.Calendar {
  const auth = new OAuth2Client({
    clientId: "client",
    clientSecret: "secret",
    endpoints: { oauth2TokenUrl: simulator.tokenUrl },
  });
  auth.setCredentials({ refresh_token: refreshToken });
  return createCalendar({ version: "v3", rootUrl: simulator.url, auth });
}

let simulator: Simulator;
let calendar: calendar_v3.Calendar;
let email: string;

beforeAll(async () => {
  simulator = await createSimulator({
    seed: "operations",
    generate: { accounts: 2, calendars: 7, events: 30 },
  });
  const [account] = simulator.accounts();
  if (!account) throw new Error("no account");
  email = account.email;
  calendar = clientOf(simulator, account.refreshToken);
});
afterAll(async () => {
  await simulator.close();
});

test("the official client runs every operation, and every answer has Google's shape", async () => {
  const list = await calendar.calendarList.list({ maxResults: 3 });
  expect(problemsOf(list.data, "CalendarList")).toEqual([]);
  expect(list.data.nextPageToken).toBeTypeOf("string");
  const entry = await calendar.calendarList.get({ calendarId: "primary" });
  expect(problemsOf(entry.data, "CalendarListEntry")).toEqual([]);
  const metadata = await calendar.calendars.get({ calendarId: email });
  expect(problemsOf(metadata.data, "Calendar")).toEqual([]);

  const inserted = await calendar.events.insert({
    calendarId: "primary",
    requestBody: {
      summary: "Weekly",
      start: { dateTime: "2026-03-02T09:00:00", timeZone: "Europe/Zurich" },
      end: { dateTime: "2026-03-02T10:00:00", timeZone: "Europe/Zurich" },
      recurrence: ["RRULE:FREQ=WEEKLY;COUNT=8"],
      attendees: [{ email }, { email: "guest@example.org" }],
    },
  });
  expect(problemsOf(inserted.data, "Event")).toEqual([]);
  expect(inserted.data.start?.dateTime).toBe("2026-03-02T09:00:00+01:00");
  const eventId = inserted.data.id ?? "";

  const instances = await calendar.events.instances({ calendarId: "primary", eventId });
  expect(problemsOf(instances.data, "Events")).toEqual([]);
  expect(instances.data.items?.map((item) => item.start?.dateTime)).toContain(
    // After the clocks went forward, still nine o'clock.
    "2026-03-30T09:00:00+02:00",
  );
  const third = instances.data.items?.[2]?.id ?? "";
  const moved = await calendar.events.patch({
    calendarId: "primary",
    eventId: third,
    requestBody: { summary: "Moved" },
  });
  expect(moved.data.recurringEventId).toBe(eventId);
  const got = await calendar.events.get({ calendarId: "primary", eventId: third });
  expect(got.data.summary).toBe("Moved");
  expect(problemsOf(got.data, "Event")).toEqual([]);

  const updated = await calendar.events.update({
    calendarId: "primary",
    eventId,
    requestBody: { ...inserted.data, summary: "Renamed" },
  });
  expect(updated.data.summary).toBe("Renamed");
  const busy = await calendar.freebusy.query({
    requestBody: {
      timeMin: "2026-03-01T00:00:00Z",
      timeMax: "2026-04-01T00:00:00Z",
      items: [{ id: "primary" }, { id: "nowhere" }],
    },
  });
  expect(problemsOf(busy.data, "FreeBusyResponse")).toEqual([]);
  expect(busy.data.calendars?.["nowhere"]?.errors?.[0]?.reason).toBe("notFound");

  await runChannelAndDelete(eventId);
});

async function runChannelAndDelete(eventId: string): Promise<void> {
  const channel = await calendar.events.watch({
    calendarId: "primary",
    requestBody: { id: "channel-1", type: "web_hook", address: "http://127.0.0.1:9/none" },
  });
  expect(problemsOf(channel.data, "Channel")).toEqual([]);
  const stopped = await calendar.channels.stop({
    requestBody: { id: channel.data.id ?? "", resourceId: channel.data.resourceId ?? "" },
  });
  expect(stopped.status).toBe(204);

  const removed = await calendar.events.delete({ calendarId: "primary", eventId });
  expect(removed.status).toBe(204);
  const everything = await calendar.events.list({ calendarId: "primary", maxResults: 2500 });
  expect(problemsOf(everything.data, "Events")).toEqual([]);
  expect(everything.data.items?.some((event) => event.id === eventId)).toBe(false);
  expect(Object.keys(simulator.counters().byOperation)).toHaveLength(14);
  expect(simulator.counters().internalErrors).toBe(0);
}

test("a renamed field makes the schema check fail", async () => {
  const { data } = await calendar.events.list({ calendarId: "primary", maxResults: 5 });
  const text = JSON.stringify(data);
  expect(problemsOf(JSON.parse(text), "Events")).toEqual([]);
  expect(
    problemsOf(JSON.parse(text.replace('"nextPageToken"', '"next_page"')), "Events"),
  ).not.toEqual([]);
  expect(problemsOf(JSON.parse(text.replace('"iCalUID"', '"icalUid"')), "Events")).not.toEqual([]);
});

test("the committed schemas are those of the installed client", async () => {
  const { generateSchemas, readDeclarations } =
    await import("../../src/simulator/generate-schemas.ts");
  const committed: unknown = JSON.parse(
    readFileSync(new URL("../../src/simulator/google-schemas.json", import.meta.url), "utf8"),
  );
  expect(committed).toEqual({ definitions: generateSchemas(readDeclarations()) });
});

test("the schemas have everything that Google's own description of 2023 has", () => {
  const file = new URL("../../../shared/data/calendar-v3.discovery-2023.json", import.meta.url);
  // Where the description is not at hand, the part of it that sync depends on.
  const described = existsSync(file)
    ? (JSON.parse(readFileSync(file, "utf8")) as Discovery).schemas
    : { Events: { properties: { nextSyncToken: { type: "string" }, items: { type: "array" } } } };
  const definitions = schemas.definitions as Readonly<Record<string, Described | undefined>>;
  let compared = 0;
  const missing: string[] = [];
  for (const [name, schema] of Object.entries(described)) {
    for (const [property, { type }] of Object.entries(schema.properties ?? {})) {
      const ours = definitions[name];
      if (!ours) continue;
      compared += 1;
      const kind = type === "integer" ? "number" : type;
      const our = ours.properties?.[property];
      if (!our || (our.type ?? kind) !== kind) missing.push(`${name}.${property}`);
    }
  }
  // `any` in the description; deprecated and dropped from the client since.
  expect(missing.filter((name) => !name.startsWith("EventWorkingLocationProperties"))).toEqual([]);
  expect(compared).toBeGreaterThanOrEqual(2);
});

interface Described {
  readonly properties?: Readonly<Record<string, { readonly type?: string } | undefined>>;
}
interface Discovery {
  readonly schemas: Readonly<
    Record<string, { readonly properties?: Readonly<Record<string, { readonly type?: string }>> }>
  >;
}
