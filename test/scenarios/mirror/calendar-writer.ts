import { calendar_v3 } from "@googleapis/calendar";
import { OAuth2Client } from "google-auth-library";
import type { GoogleEvent } from "../../../src/core/google-event.ts";
import { createVersionHistory, type VersionHistory } from "./version-history.ts";

/**
 * Changes calendars through the Calendar API with the plain official client, as any other program of
 * the customer's would, and writes down what it did. Knows nothing of whose server answers.
 */
export interface CalendarWriter {
  readonly googleId: string;
  readonly history: VersionHistory;
  /** Make one random change; changes of one calendar are made one after the other. */
  change(random: () => number): Promise<void>;
}

export interface GoogleServer {
  readonly apiRootUrl: string;
  readonly tokenUrl: string;
}

/** The official client with its own retries, signed in with a refresh token. */
export function createPlainClient(
  server: GoogleServer,
  refreshToken: string,
): calendar_v3.Calendar {
  const auth = new OAuth2Client({
    clientId: "scenario-client",
    clientSecret: "scenario-secret",
    endpoints: { oauth2TokenUrl: server.tokenUrl },
  });
  auth.setCredentials({ refresh_token: refreshToken });
  return new calendar_v3.Calendar({
    auth,
    rootUrl: server.apiRootUrl,
    // Only refusals, which changed nothing: a write that failed half-way must not be made twice.
    retryConfig: {
      retry: 12,
      noResponseRetries: 0,
      maxRetryDelay: 10_000,
      httpMethodsToRetry: ["GET", "POST", "PATCH", "DELETE"],
      statusCodesToRetry: [
        [403, 403],
        [429, 429],
      ],
    },
  });
}

/** Google lets a deleted event's id be used for nothing else, so that names only ever grow. */
interface LiveEvent {
  readonly id: string;
  readonly isSeries: boolean;
  /** Ids of this series' exceptions, cancelled ones included. */
  readonly exceptions: Set<string>;
}

interface Writing {
  readonly client: calendar_v3.Calendar;
  readonly calendarId: string;
  readonly history: VersionHistory;
  readonly live: Map<string, LiveEvent>;
  now(): number;
}

/** Read what is there, then be ready to change it. */
export async function createCalendarWriter(
  client: calendar_v3.Calendar,
  googleId: string,
  now: () => number,
): Promise<CalendarWriter> {
  const writing: Writing = {
    client,
    calendarId: googleId,
    history: createVersionHistory(),
    live: new Map(),
    now,
  };
  const present = await listAll(client, googleId);
  const answeredAt = now();
  for (const event of present) writing.history.wrote(event, { sentAt: -Infinity, answeredAt });
  for (const event of present) {
    if (event.recurringEventId == null) {
      writing.live.set(event.id, {
        id: event.id,
        isSeries: (event.recurrence?.length ?? 0) > 0,
        exceptions: new Set(),
      });
    }
  }
  for (const event of present) {
    if (event.recurringEventId != null) {
      writing.live.get(event.recurringEventId)?.exceptions.add(event.id);
    }
  }
  return {
    googleId,
    history: writing.history,
    change: (random) => change(writing, random),
  };
}

/** A full list of the kind that a mirror keeps: masters, single events and exceptions. */
export async function listAll(
  client: calendar_v3.Calendar,
  calendarId: string,
): Promise<GoogleEvent[]> {
  const events: GoogleEvent[] = [];
  let pageToken: string | undefined;
  do {
    const { data } = await client.events.list({
      calendarId,
      maxResults: 2500,
      singleEvents: false,
      ...(pageToken === undefined ? {} : { pageToken }),
    });
    events.push(...(data.items ?? []).map(asGoogleEvent));
    pageToken = data.nextPageToken ?? undefined;
  } while (pageToken !== undefined);
  return events;
}

function asGoogleEvent(event: calendar_v3.Schema$Event): GoogleEvent {
  return event as GoogleEvent;
}

async function change(writing: Writing, random: () => number): Promise<void> {
  const events = [...writing.live.values()];
  const chosen = events[Math.floor(random() * events.length)];
  const dice = random();
  // The last event is never deleted: a calendar that was never empty must never be read as empty.
  if (chosen === undefined || dice < 0.3) return insert(writing, random);
  if (dice < 0.55) return edit(writing, chosen, { summary: `Edited ${String(random())}` });
  if (dice < 0.7 && !chosen.isSeries) return edit(writing, chosen, singleTimes(random));
  if (dice < 0.85 && chosen.isSeries) return changeInstance(writing, chosen, random);
  if (events.length > 3) return remove(writing, chosen);
  return edit(writing, chosen, { location: `Room ${String(Math.floor(random() * 100))}` });
}

function singleTimes(random: () => number): calendar_v3.Schema$Event {
  const start = Date.UTC(2026, 0, 1) + Math.floor(random() * 365) * 86_400_000;
  const hour = start + Math.floor(random() * 24) * 3_600_000;
  return {
    // The date is taken away by name: a patch is merged, and an event is all-day or not.
    start: { date: null, dateTime: new Date(hour).toISOString(), timeZone: "UTC" },
    end: { date: null, dateTime: new Date(hour + 1_800_000).toISOString(), timeZone: "UTC" },
  };
}

async function insert(writing: Writing, random: () => number): Promise<void> {
  const isSeries = random() < 0.3;
  const sentAt = writing.now();
  const { data } = await writing.client.events.insert({
    calendarId: writing.calendarId,
    requestBody: {
      summary: `Inserted ${String(random())}`,
      ...singleTimes(random),
      ...(isSeries ? { recurrence: ["RRULE:FREQ=WEEKLY;COUNT=20"] } : {}),
    },
  });
  const event = asGoogleEvent(data);
  writing.history.wrote(event, { sentAt, answeredAt: writing.now() });
  writing.live.set(event.id, { id: event.id, isSeries, exceptions: new Set() });
}

async function edit(
  writing: Writing,
  event: LiveEvent,
  requestBody: calendar_v3.Schema$Event,
): Promise<void> {
  const sentAt = writing.now();
  const { data } = await writing.client.events.patch({
    calendarId: writing.calendarId,
    eventId: event.id,
    requestBody,
  });
  writing.history.wrote(asGoogleEvent(data), { sentAt, answeredAt: writing.now() });
}

async function remove(writing: Writing, event: LiveEvent): Promise<void> {
  const sentAt = writing.now();
  await writing.client.events.delete({ calendarId: writing.calendarId, eventId: event.id });
  const span = { sentAt, answeredAt: writing.now() };
  for (const id of [event.id, ...event.exceptions]) writing.history.removed(id, span);
  writing.live.delete(event.id);
}

/** Edit or cancel one instance of a series: an exception is born, or changes. */
async function changeInstance(
  writing: Writing,
  series: LiveEvent,
  random: () => number,
): Promise<void> {
  const { client, calendarId } = writing;
  const instances = await client.events.instances({
    calendarId,
    eventId: series.id,
    maxResults: 10,
  });
  const items = instances.data.items ?? [];
  const instance = items[Math.floor(random() * items.length)];
  if (instance?.id == null) {
    await edit(writing, series, { description: `No instance left ${String(random())}` });
    return;
  }
  const eventId = instance.id;
  const sentAt = writing.now();
  if (random() < 0.5) {
    await client.events.patch({
      calendarId,
      eventId,
      requestBody: { summary: `Exception ${String(random())}` },
    });
  } else {
    await client.events.delete({ calendarId, eventId });
  }
  series.exceptions.add(eventId);
  // What an exception does to its series is the server's affair: ask for both as they are now.
  for (const id of [eventId, series.id]) {
    const { data } = await client.events.get({ calendarId, eventId: id });
    writing.history.wrote(asGoogleEvent(data), { sentAt, answeredAt: writing.now() });
  }
}
