import {
  answerConditionally,
  readBoolean,
  readMaxResults,
  requireCalendar,
  roleOf,
} from "./api-call.ts";
import type { ApiAnswer, ApiCall, ApiContext } from "./api-call.ts";
import { isAtLeast } from "./api-call.ts";
import { applyFieldMask, parseFieldMask } from "./field-mask.ts";
import { badParameter, notFound } from "./google-error.ts";
import { createListTokens, requireLiveSyncPoint } from "./list-tokens.ts";
import type { ListTokens, PagePosition } from "./list-tokens.ts";
import { checksum } from "./random.ts";
import type { AccessRole, CalendarListEntry, CalendarResource } from "./wire-resources.ts";
import type { Account, Calendar, ListedCalendar } from "./world.ts";

const REFUSED_WITH_SYNC_TOKEN = ["minAccessRole", "showOwnOrganizationOnly"] as const;
const ROLES: readonly AccessRole[] = ["freeBusyReader", "reader", "writer", "owner"];

/** `calendarList.list`: the account's calendars, in full or since a sync token. */
export function listCalendars(call: ApiCall, context: ApiContext): ApiAnswer {
  const { account, query } = call;
  refuseWithSyncToken(query);
  const tokens = createListTokens({
    secret: context.world.secret,
    listing: `${account.email}/calendarList`,
    fingerprint: "",
  });
  const maxResults = readMaxResults(query, { byDefault: 100, cap: 250 });
  const position = findPosition({ call, context, tokens });
  const isDelta = position.sinceRevision >= 0;
  const entries = rowsFrom(account, position)
    .filter((listed) => isDelta || isShown(listed, query))
    .map((listed) => entryOf(account, listed, context))
    .filter((entry) => hasRole(entry, query.get("minAccessRole")));
  const items = entries.slice(0, maxResults);
  const next = entries[maxResults];
  const nextOrdinal = next ? account.listedById.get(next.id ?? "")?.ordinal : undefined;
  // A list restricted by role cannot be continued by a token.
  const isSyncable = !query.has("minAccessRole");
  const page = {
    kind: "calendar#calendarList",
    etag: `"p${checksum(account.email, `${account.list.revision()}${call.queryText}`)}"`,
    ...(nextOrdinal === undefined
      ? isSyncable && { nextSyncToken: writeSync(tokens, position, { account, context }) }
      : { nextPageToken: tokens.writePage({ ...position, nextOrdinal }) }),
    items,
  };
  return answerConditionally(call, answerWith(call, page, page.etag));
}

/** `calendarList.get`. */
export function getListedCalendar(call: ApiCall, context: ApiContext): ApiAnswer {
  const listed = call.account.listedById.get(call.calendarId);
  if (!listed || listed.isDeleted) throw notFound();
  const entry = entryOf(call.account, listed, context);
  return answerConditionally(call, answerWith(call, entry, entry.etag ?? ""));
}

/** `calendars.get`: a calendar's own metadata. */
export function getCalendar(call: ApiCall, context: ApiContext): ApiAnswer {
  const calendar = requireCalendar(call, context, "freeBusyReader");
  const { id, summary, description, timeZone, ownerEmail } = calendar;
  const text = JSON.stringify([id, summary, description, timeZone]);
  const resource: CalendarResource = {
    kind: "calendar#calendar",
    etag: `"${checksum("calendar", text)}"`,
    id,
    summary,
    ...(description === undefined ? {} : { description }),
    timeZone,
    ...(id === ownerEmail ? {} : { dataOwner: ownerEmail }),
    conferenceProperties: { allowedConferenceSolutionTypes: ["hangoutsMeet"] },
  };
  return answerConditionally(call, answerWith(call, resource, resource.etag ?? ""));
}

interface Listing {
  readonly call: ApiCall;
  readonly context: ApiContext;
  readonly tokens: ListTokens;
}

function findPosition({ call, context, tokens }: Listing): PagePosition {
  const { account, query } = call;
  const pageToken = query.get("pageToken");
  if (pageToken !== null) return tokens.readPage(pageToken);
  const start = { startRevision: account.list.revision(), nextOrdinal: 0, skip: 0, query: "" };
  const syncToken = query.get("syncToken");
  if (syncToken === null) return { ...start, sinceRevision: -1 };
  const point = tokens.readSync(syncToken);
  requireLiveSyncPoint(point, {
    nowMs: context.world.nowMs(),
    epoch: account.listTokenEpoch,
    lifetimeMs: context.syncTokenLifetimeMs,
  });
  return { ...start, sinceRevision: point.revision };
}

function writeSync(
  tokens: ListTokens,
  position: PagePosition,
  of: { readonly account: Account; readonly context: ApiContext },
): string {
  return tokens.writeSync({
    revision: position.startRevision,
    issuedAtMs: of.context.world.nowMs(),
    epoch: of.account.listTokenEpoch,
    query: "",
  });
}

function refuseWithSyncToken(query: URLSearchParams): void {
  if (!query.has("syncToken")) return;
  const hides = ["showDeleted", "showHidden"].find((name) => readBoolean(query, name) === false);
  const refused = REFUSED_WITH_SYNC_TOKEN.find((name) => query.has(name)) ?? hides;
  if (refused === undefined) return;
  throw badParameter(
    refused,
    "Sync token cannot be used with other request restrictions.",
    "syncTokenWithRequestRestrictions",
  );
}

function rowsFrom(account: Account, position: PagePosition): readonly ListedCalendar[] {
  const { items } = account.list;
  if (position.sinceRevision < 0) return items.slice(position.nextOrdinal);
  return account.list
    .changedBetween(position.sinceRevision, position.startRevision)
    .filter((ordinal) => ordinal >= position.nextOrdinal)
    .flatMap((ordinal) => items[ordinal] ?? []);
}

function isShown(listed: ListedCalendar, query: URLSearchParams): boolean {
  if (listed.isDeleted && readBoolean(query, "showDeleted") !== true) return false;
  return listed.own.hidden !== true || readBoolean(query, "showHidden") === true;
}

function hasRole(entry: CalendarListEntry, minAccessRole: string | null): boolean {
  if (minAccessRole === null) return true;
  const needed = ROLES.find((role) => role === minAccessRole);
  if (!needed) throw badParameter("minAccessRole", `Invalid string value: '${minAccessRole}'.`);
  const role = ROLES.find((one) => one === entry.accessRole) ?? "none";
  return isAtLeast(role, needed);
}

function entryOf(account: Account, listed: ListedCalendar, context: ApiContext): CalendarListEntry {
  const calendar = context.world.calendars.get(listed.calendarId);
  const etag = `"${listed.revision}${checksum(account.email, listed.calendarId)}"`;
  const base = { kind: "calendar#calendarListEntry", etag, id: listed.calendarId };
  // A deleted entry keeps only what identifies it.
  if (listed.isDeleted || !calendar) return { ...base, deleted: true };
  return { ...base, ...detailsOf(account, calendar), ...listed.own };
}

function detailsOf(account: Account, calendar: Calendar): CalendarListEntry {
  const isPrimary = calendar.id === account.email;
  const isOwner = roleOf(account, calendar) === "owner";
  return {
    summary: calendar.summary,
    ...(calendar.description === undefined ? {} : { description: calendar.description }),
    timeZone: calendar.timeZone,
    colorId: "14",
    backgroundColor: "#9fe1e7",
    foregroundColor: "#000000",
    accessRole: roleOf(account, calendar),
    defaultReminders: isOwner ? [{ method: "popup", minutes: 10 }] : [],
    ...(isPrimary ? { primary: true } : {}),
    conferenceProperties: { allowedConferenceSolutionTypes: ["hangoutsMeet"] },
  };
}

function answerWith(call: ApiCall, resource: object, etag: string): ApiAnswer {
  const fields = call.query.get("fields");
  const shown = fields === null ? resource : applyFieldMask(resource, parseFieldMask(fields));
  return { status: 200, body: JSON.stringify(shown), etag };
}
