import { createHash } from "node:crypto";
import type { calendar_v3 } from "@googleapis/calendar";
import type { CalendarSource, ListQuery } from "../core/calendar-source.ts";
import { createGoogleCall, type GoogleCallDeps } from "./google-call.ts";
import { readCalendarList, readEvents, readPage, textOf } from "./read-page.ts";

export interface CalendarSourceOptions {
  /** `busy`: no titles, no attendees but the calendar's own, by a mask that Google applies. */
  readonly mirror: "full" | "busy";
}

export interface CalendarSourceDeps extends GoogleCallDeps {
  readonly client: calendar_v3.Calendar;
}

/** Google's own caps. */
const MAX_EVENTS_PER_PAGE = 2500;
const MAX_CALENDARS_PER_PAGE = 250;

const BUSY_FIELDS =
  "nextPageToken,nextSyncToken,timeZone,accessRole," +
  "items(id,status,etag,updated,start,end,recurrence,recurringEventId,originalStartTime,transparency,eventType,attendees(self,responseStatus))";

/**
 * Sent with every page of every listing of events, with a sync token or without one: Google wants them
 * equal between a token and its use. `showDeleted` stays unset: a delta holds deletions anyway.
 */
const EVENTS_QUERY = { singleEvents: false } as const;

/** Deleted and hidden calendars are in every delta; the full list must name them too. */
const CALENDAR_LIST_QUERY = { showDeleted: true, showHidden: true } as const;

export function createCalendarSource(
  { mirror }: CalendarSourceOptions,
  deps: CalendarSourceDeps,
): CalendarSource {
  const { client } = deps;
  const callGoogle = createGoogleCall(deps);
  const eventsQuery = { ...EVENTS_QUERY, ...(mirror === "busy" ? { fields: BUSY_FIELDS } : {}) };

  return {
    eventsFingerprint: fingerprintOf("events", eventsQuery),
    calendarListFingerprint: fingerprintOf("calendar-list", CALENDAR_LIST_QUERY),
    listEvents: ({ accountId, googleCalendarId }, query, options) => {
      const params = {
        ...eventsQuery,
        ...paging(query, MAX_EVENTS_PER_PAGE),
        calendarId: googleCalendarId,
      };
      return callGoogle({ accountId, operation: "events.list" }, options, {
        attempt: (auth, how) => client.events.list({ ...params, ...auth }, how),
        read: (bodyText) => {
          const raw = readPage("events.list", bodyText, query.pageToken);
          return {
            ...raw.page,
            items: readEvents(raw, mirror),
            timeZone: textOf(raw.envelope["timeZone"]),
            accessRole: textOf(raw.envelope["accessRole"]),
          };
        },
      });
    },
    listCalendars: (accountId, query, options) => {
      const params = { ...CALENDAR_LIST_QUERY, ...paging(query, MAX_CALENDARS_PER_PAGE) };
      return callGoogle({ accountId, operation: "calendarList.list" }, options, {
        attempt: (auth, how) => client.calendarList.list({ ...params, ...auth }, how),
        read: (bodyText) => {
          const raw = readPage("calendarList.list", bodyText, query.pageToken);
          return { ...raw.page, items: readCalendarList(raw, mirror) };
        },
      });
    },
  };
}

function paging(
  { syncToken, pageToken, pageSize }: ListQuery,
  cap: number,
): { maxResults: number; syncToken?: string; pageToken?: string } {
  return {
    maxResults: Math.min(pageSize, cap),
    ...(syncToken === undefined ? {} : { syncToken }),
    ...(pageToken === undefined ? {} : { pageToken }),
  };
}

/** Changes with any parameter but page size and tokens; a stored sync token under another one is not used. */
function fingerprintOf(list: string, query: Readonly<Record<string, string | boolean>>): string {
  const text = Object.entries(query)
    .map(([name, value]) => `${name}=${value}`)
    .toSorted()
    .join("&");
  return `${list}-${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
}
