import type { Page } from "../core/calendar-source.ts";
import { CallFailed } from "../core/failure.ts";
import type { CalendarListEntry, GoogleEvent } from "../core/google-event.ts";
import type { Operation } from "../core/request.ts";

/** A page's envelope, and its items as they came. */
export interface RawPage {
  readonly envelope: Readonly<Record<string, unknown>>;
  readonly items: readonly Readonly<Record<string, unknown>>[];
  readonly page: Page<never>;
}

/**
 * Checks what a 200 promises: JSON, items, and on the last page a sync token. What does not is
 * `malformed-response`, and so is a page that leads to itself: such a page is neither published nor taken for an empty calendar (I4).
 */
export function readPage(
  operation: Operation,
  bodyText: unknown,
  askedPageToken: string | undefined,
): RawPage {
  const malformed = (detail: string, cause?: unknown): CallFailed =>
    new CallFailed({ kind: "malformed-response", detail }, { operation, cause });
  if (typeof bodyText !== "string") throw malformed("the body is not text");
  if (bodyText.trim() === "") throw malformed("the body is empty");
  let envelope: unknown;
  try {
    envelope = JSON.parse(bodyText);
  } catch {
    // Without its cause: the error quotes the body, and a body holds titles and addresses.
    throw malformed(`the body is not JSON (${bodyText.length} characters)`);
  }
  if (!isRecord(envelope)) throw malformed("the body is not an object");
  const { items } = envelope;
  if (!Array.isArray(items)) throw malformed("the body has no items");
  if (!items.every(isRecord)) throw malformed("an item is not an object");
  const bytes = Buffer.byteLength(bodyText);
  const nextPageToken = textOf(envelope["nextPageToken"]);
  // A listing that leads to itself would be read for ever, and spend the quota meanwhile.
  if (nextPageToken !== undefined && nextPageToken === askedPageToken) {
    throw malformed("the page names itself as the next one");
  }
  if (nextPageToken !== undefined) {
    return { envelope, items, page: { items: [], bytes, nextPageToken, nextSyncToken: undefined } };
  }
  const nextSyncToken = textOf(envelope["nextSyncToken"]);
  if (nextSyncToken === undefined) throw malformed("the last page has no sync token");
  return { envelope, items, page: { items: [], bytes, nextPageToken, nextSyncToken } };
}

/** The events of a page; one without an id cannot be stored, and makes the page malformed. */
export function readEvents({ items }: RawPage, mirror: "full" | "busy"): GoogleEvent[] {
  return items.map((item) => {
    const id = requireText(item, { field: "id", operation: "events.list" });
    return mirror === "full" ? { ...item, id } : { ...withoutOthers(item), id };
  });
}

/** The entries of a calendar list, reduced to what discovery keeps; a busy mirror keeps no titles. */
export function readCalendarList({ items }: RawPage, mirror: "full" | "busy"): CalendarListEntry[] {
  return items.map((item) => ({
    googleId: requireText(item, { field: "id", operation: "calendarList.list" }),
    summary:
      mirror === "full" ? (textOf(item["summaryOverride"]) ?? textOf(item["summary"])) : undefined,
    timeZone: textOf(item["timeZone"]),
    accessRole: textOf(item["accessRole"]),
    isPrimary: item["primary"] === true,
    isHidden: item["hidden"] === true,
    isDeleted: item["deleted"] === true,
  }));
}

/** Of the attendees a busy mirror needs one: the calendar's own, who may have declined. */
function withoutOthers(item: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { attendees } = item;
  if (!Array.isArray(attendees)) return item;
  return { ...item, attendees: attendees.filter((one) => isRecord(one) && one["self"] === true) };
}

function requireText(
  item: Readonly<Record<string, unknown>>,
  { field, operation }: { readonly field: string; readonly operation: Operation },
): string {
  const value = textOf(item[field]);
  if (value !== undefined) return value;
  throw new CallFailed(
    { kind: "malformed-response", detail: `an item has no ${field}` },
    { operation },
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Google leaves out what is empty; some servers send null or "". */
export function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
