import { answerConditionally, requireCalendar, roleOf } from "./api-call.ts";
import type { ApiAnswer, ApiCall, ApiContext } from "./api-call.ts";
import { momentOf } from "./event-span.ts";
import { rowsOf } from "./event-rows.ts";
import type { EventRow, RowRules } from "./event-rows.ts";
import { badParameter } from "./google-error.ts";
import { listEnvelope } from "./list-envelope.ts";
import { readListQuery } from "./list-query.ts";
import type { EventRestrictions, ListQuery } from "./list-query.ts";
import { createListTokens, requireLiveSyncPoint } from "./list-tokens.ts";
import type { ListTokens, PagePosition } from "./list-tokens.ts";
import type { Calendar, EventHistory } from "./world.ts";

interface Page {
  readonly rows: readonly EventRow[];
  /** Where the next page begins; undefined on the last one. */
  readonly next: Pick<PagePosition, "nextOrdinal" | "skip"> | undefined;
}

const FIRST_LEVEL_ITEMS = /(?:^|,)items(?=[(/])/;

/** `events.list`: full lists, deltas by sync token, pages of both. */
export function listEvents(call: ApiCall, context: ApiContext): ApiAnswer {
  const calendar = requireCalendar(call, context, "reader");
  const query = readListQuery(call.query);
  const tokens = createListTokens({
    secret: context.world.secret,
    listing: calendar.id,
    fingerprint: query.fingerprint,
  });
  const nowMs = context.world.nowMs();
  const position = findPosition({ calendar, query, tokens, nowMs, context });
  const rules: RowRules = {
    query,
    restrictions: readStored(position.query),
    isDelta: position.sinceRevision >= 0,
    itemMask: itemMaskOf(call.query.get("fields")),
    hidesPrivate: roleOf(call.account, calendar) === "reader",
    nowMs,
  };
  const page = collect(calendar, position, { call, query, rules });
  const answer = listEnvelope(call, calendar, {
    items: page.rows.map((row) => row.json),
    ...(page.next
      ? { nextPageToken: tokens.writePage({ ...position, ...page.next }) }
      : syncTokenOf({ calendar, query, tokens, nowMs }, position)),
  });
  return answerConditionally(call, answer);
}

interface Listing {
  readonly calendar: Calendar;
  readonly query: ListQuery;
  readonly tokens: ListTokens;
  readonly nowMs: number;
}

function findPosition(listing: Listing & { readonly context: ApiContext }): PagePosition {
  const { calendar, query, tokens, nowMs, context } = listing;
  if (query.pageToken !== null) {
    const position = tokens.readPage(query.pageToken);
    // A delta's restrictions come from its sync token; a full list's must be repeated.
    const repeated = position.sinceRevision < 0 ? position.query : "";
    if (writeStored(query.restrictions) === repeated) return position;
    throw badParameter("pageToken", "Invalid page token value.");
  }
  const start = { startRevision: calendar.events.revision(), nextOrdinal: 0, skip: 0 };
  if (query.syncToken === null) {
    return { ...start, sinceRevision: -1, query: writeStored(query.restrictions) };
  }
  const point = tokens.readSync(query.syncToken);
  requireLiveSyncPoint(point, {
    nowMs,
    epoch: calendar.tokenEpoch,
    lifetimeMs: calendar.tokenLifetimeMs ?? context.syncTokenLifetimeMs,
  });
  return { ...start, sinceRevision: point.revision, query: point.query };
}

// The token covers everything since the listing *began*: what changed while it was paged comes again in the next delta.
function syncTokenOf(listing: Listing, position: PagePosition): { nextSyncToken?: string } {
  if (!listing.query.isSyncable) return {};
  return {
    nextSyncToken: listing.tokens.writeSync({
      revision: position.startRevision,
      issuedAtMs: listing.nowMs,
      epoch: listing.calendar.tokenEpoch,
      query: position.query,
    }),
  };
}

interface Collecting {
  readonly call: ApiCall;
  readonly query: ListQuery;
  readonly rules: RowRules;
}

function collect(calendar: Calendar, position: PagePosition, collecting: Collecting): Page {
  const { call, query } = collecting;
  if (query.orderBy !== undefined) return collectOrdered(calendar, position, collecting);
  // `skip` -1 marks a page that follows an empty one, so that every second page at least goes forward.
  if (call.wantsEmptyPage && position.skip !== -1) {
    return { rows: [], next: { nextOrdinal: position.nextOrdinal, skip: position.skip || -1 } };
  }
  const rows: EventRow[] = [];
  let skip = Math.max(0, position.skip);
  for (const event of eventsFrom(calendar, position)) {
    const found = rowsOf(calendar, event, collecting.rules);
    const taken = found.slice(skip, skip + query.maxResults - rows.length);
    rows.push(...taken);
    if (skip + taken.length < found.length) {
      return { rows, next: { nextOrdinal: event.ordinal, skip: skip + taken.length } };
    }
    skip = 0;
  }
  return { rows, next: undefined };
}

/** The events a listing has still to look at, in order of their creation. */
function* eventsFrom(calendar: Calendar, position: PagePosition): Generator<EventHistory> {
  const { items } = calendar.events;
  const { sinceRevision, startRevision, nextOrdinal } = position;
  if (sinceRevision < 0) {
    for (let ordinal = nextOrdinal; ordinal < items.length; ordinal++) {
      const event = items[ordinal];
      if (event) yield event;
    }
    return;
  }
  for (const ordinal of calendar.events.changedBetween(sinceRevision, startRevision)) {
    const event = ordinal < nextOrdinal ? undefined : items[ordinal];
    if (event) yield event;
  }
}

/** Ordered lists give no sync token, so a plain offset will do. */
function collectOrdered(calendar: Calendar, position: PagePosition, collecting: Collecting): Page {
  const { query, rules } = collecting;
  const keyOf = (row: EventRow): number =>
    query.orderBy === "updated"
      ? Date.parse(row.resource.updated ?? "")
      : (momentOf(row.resource.start ?? row.resource.originalStartTime, calendar.timeZone) ?? 0);
  const rows = calendar.events.items
    .flatMap((event) => rowsOf(calendar, event, rules))
    .toSorted((left, right) => keyOf(left) - keyOf(right));
  const end = position.skip + query.maxResults;
  return {
    rows: rows.slice(position.skip, end),
    next: end < rows.length ? { nextOrdinal: 0, skip: end } : undefined,
  };
}

/** The part of a `fields` mask that applies to each event, as text, so that rows can be kept by it. */
function itemMaskOf(fields: string | null): string | undefined {
  const match = fields === null ? null : FIRST_LEVEL_ITEMS.exec(fields);
  if (fields === null || match === null) return undefined;
  const from = match.index + match[0].length;
  if (fields[from] === "/") return fields.slice(from + 1).split(",")[0];
  let depth = 0;
  for (let index = from; index < fields.length; index++) {
    if (fields[index] === "(") depth += 1;
    if (fields[index] === ")" && --depth === 0) return fields.slice(from + 1, index);
  }
  return undefined;
}

function writeStored(restrictions: EventRestrictions): string {
  const text = JSON.stringify(restrictions);
  return text === "{}" ? "" : text;
}

function readStored(text: string): EventRestrictions {
  if (text === "") return {};
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- written by writeStored; the token's checksum vouches for it
  return JSON.parse(text) as EventRestrictions;
}
