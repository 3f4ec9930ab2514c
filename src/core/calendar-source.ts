import type { CalendarListEntry, GoogleEvent } from "./google-event.ts";
import type { AccountId, GoogleCalendarId } from "./ids.ts";
import type { CallOptions } from "./request.ts";

/** What to list: from a sync token, or everything; and which page of it. */
export interface ListQuery {
  readonly syncToken: string | undefined;
  readonly pageToken: string | undefined;
  /** Events per page: at most 2500 for events, 250 for calendar lists (Google caps both). */
  readonly pageSize: number;
}

/** One page. `nextSyncToken` comes on the last page only, `nextPageToken` on every other. */
export type Page<Item> = {
  readonly items: readonly Item[];
  /** Size of the body in bytes, uncompressed. */
  readonly bytes: number;
} & (
  | { readonly nextPageToken: string; readonly nextSyncToken: undefined }
  | { readonly nextPageToken: undefined; readonly nextSyncToken: string }
);

/** A page of events also describes its calendar. */
export type EventsPage = Page<GoogleEvent> & {
  readonly timeZone: string | undefined;
  readonly accessRole: string | undefined;
};

/**
 * Reads calendars at Google. Every method makes one logical call through the guard and throws
 * `CallFailed` (Google said no) or `Refused` (we did not ask).
 */
export interface CalendarSource {
  /**
   * The query's fingerprint: changes when any parameter that must stay equal between a sync token
   * and its use changes. A token is only ever sent with the fingerprint it was issued under.
   */
  readonly eventsFingerprint: string;
  readonly calendarListFingerprint: string;
  listEvents(
    target: { readonly accountId: AccountId; readonly googleCalendarId: GoogleCalendarId },
    query: ListQuery,
    options: CallOptions,
  ): Promise<EventsPage>;
  listCalendars(
    accountId: AccountId,
    query: ListQuery,
    options: CallOptions,
  ): Promise<Page<CalendarListEntry>>;
}
