import type { Clock } from "../core/clock.ts";
import { createChangeLog } from "./change-log.ts";
import type { ChangeLog } from "./change-log.ts";
import type { AccessRole, CalendarListEntry, EventResource } from "./wire-resources.ts";

/** One state an event was in, from a moment on. All of them are kept: the oracle needs every one. */
export interface EventVersion {
  readonly resource: EventResource;
  readonly revision: number;
  readonly fromMs: number;
  /** The resource as JSON, written when first needed. */
  json?: string | undefined;
  /** The same under the `fields` mask last asked for. */
  masked?: { readonly mask: string; readonly json: string } | undefined;
}

/** One event through time; the last version is the current one. */
export interface EventHistory {
  readonly id: string;
  readonly ordinal: number;
  readonly versions: EventVersion[];
}

/** One calendar, whoever sees it. */
export interface Calendar {
  readonly id: string;
  summary: string;
  description: string | undefined;
  timeZone: string;
  readonly ownerEmail: string;
  /** Holiday and birthday calendars cannot be watched. */
  isWatchable: boolean;
  isDeleted: boolean;
  /** Rises when all sync tokens given so far die. */
  tokenEpoch: number;
  /** Shorter than the default for derived calendars, whose tokens die young. */
  tokenLifetimeMs: number | undefined;
  readonly acl: Map<string, AccessRole>;
  readonly events: ChangeLog<EventHistory> & { readonly changes: readonly number[] };
  readonly eventsById: Map<string, EventHistory>;
  /** The ordinals of each series' exceptions. */
  readonly exceptions: Map<string, number[]>;
}

/** One calendar in one account's list. */
export interface ListedCalendar {
  readonly calendarId: string;
  readonly ordinal: number;
  /** What this account chose for itself: hidden, selected, its own title. */
  own: Pick<CalendarListEntry, "hidden" | "selected" | "summaryOverride" | "colorId">;
  isDeleted: boolean;
  /** The revision of its latest change: its etag. */
  revision: number;
}

/** One Google identity. */
export interface Account {
  readonly email: string;
  /** Google's number for it; what `id_token.sub` says. */
  readonly sub: string;
  /** The token it was seeded with; consent gives further ones. */
  readonly refreshToken: string;
  isRevoked: boolean;
  /** Access tokens issued before this moment are dead. */
  tokensDeadBeforeMs: number;
  listTokenEpoch: number;
  readonly list: ChangeLog<ListedCalendar> & { readonly changes: readonly number[] };
  readonly listedById: Map<string, ListedCalendar>;
}

/** A calendar changed: its events, or (with no event) who may see it. */
export type WorldListener = (calendar: Calendar, event: EventHistory | undefined) => void;

/**
 * Everything that exists at this Google: accounts, calendars, events with all their versions.
 *
 * State: grows only; deletions are tombstones. Time never runs backwards here, even if the clock does, so that a
 * version's beginning is never after the next one's.
 */
export interface World {
  readonly secret: string;
  readonly accounts: Map<string, Account>;
  readonly calendars: Map<string, Calendar>;
  /** Every refresh token that holds, and whose it is. */
  readonly refreshTokens: Map<string, string>;
  readonly nowMs: () => number;
  addAccount(account: Pick<Account, "email" | "sub" | "refreshToken">): Account;
  addCalendar(calendar: NewCalendar): Calendar;
  /** Record an event's next state; the resource gets its etag and `updated` here. */
  putEvent(calendar: Calendar, resource: EventResource): EventHistory;
  /** Give or take access; lists the calendar for the account, or marks it deleted there. */
  setAccess(calendar: Calendar, email: string, role: AccessRole): void;
  /** Note that an account's entry changed. */
  touchListed(account: Account, listed: ListedCalendar): void;
  onChange(listener: WorldListener): void;
}

/** What a new calendar needs to be told. */
export type NewCalendar = Pick<Calendar, "id" | "summary" | "timeZone" | "ownerEmail"> &
  Partial<Pick<Calendar, "description" | "isWatchable" | "tokenLifetimeMs">>;

/**
 * Create an empty world. The secret binds its tokens to it: tokens of another world are garbage here. Without history only
 * the current versions are kept, for worlds that run for weeks.
 */
export function createWorld(
  options: { readonly secret: string; readonly keepsHistory: boolean },
  deps: { readonly clock: Clock },
): World {
  const accounts = new Map<string, Account>();
  const calendars = new Map<string, Calendar>();
  const refreshTokens = new Map<string, string>();
  const listeners: WorldListener[] = [];
  let latestMs = 0;
  const nowMs = (): number => {
    latestMs = Math.max(latestMs, deps.clock.now());
    return latestMs;
  };
  const announce: WorldListener = (calendar, event) => {
    for (const listener of listeners) listener(calendar, event);
  };
  const setAccess = (calendar: Calendar, email: string, role: AccessRole): void => {
    calendar.acl.set(email, role);
    const account = accounts.get(email);
    if (account) relist(account, calendar.id, role);
    announce(calendar, undefined);
  };
  return {
    secret: options.secret,
    accounts,
    calendars,
    refreshTokens,
    nowMs,
    addAccount(account) {
      const added = emptyAccount(account, nowMs());
      accounts.set(added.email, added);
      refreshTokens.set(added.refreshToken, added.email);
      return added;
    },
    addCalendar(calendar) {
      const added = emptyCalendar(calendar, nowMs());
      calendars.set(added.id, added);
      setAccess(added, added.ownerEmail, "owner");
      return added;
    },
    putEvent(calendar, resource) {
      const event = recordVersion(calendar, resource, nowMs());
      if (!options.keepsHistory) event.versions.splice(0, event.versions.length - 1);
      announce(calendar, event);
      return event;
    },
    setAccess,
    touchListed(account, listed) {
      account.list.touch(listed.ordinal);
      listed.revision = account.list.revision();
    },
    onChange(listener) {
      listeners.push(listener);
    },
  };
}

/** An account without calendars. */
export function emptyAccount(
  account: Pick<Account, "email" | "sub" | "refreshToken">,
  bornAtMs: number,
): Account {
  return {
    ...account,
    isRevoked: false,
    tokensDeadBeforeMs: 0,
    listTokenEpoch: bornAtMs,
    list: createChangeLog<ListedCalendar>(),
    listedById: new Map(),
  };
}

function emptyCalendar(calendar: NewCalendar, bornAtMs: number): Calendar {
  return {
    isWatchable: true,
    tokenLifetimeMs: undefined,
    description: undefined,
    ...calendar,
    isDeleted: false,
    // Tokens of an earlier world of the same seed must not pass for this one's.
    tokenEpoch: bornAtMs,
    acl: new Map(),
    events: createChangeLog<EventHistory>(),
    eventsById: new Map(),
    exceptions: new Map(),
  };
}

/** The state an event is in now. */
export function currentVersion(event: EventHistory): EventVersion {
  const version = event.versions.at(-1);
  if (!version) throw new Error(`Event ${event.id} has no version`);
  return version;
}

/** Remember that an event is an exception of a series. */
export function indexException(calendar: Calendar, event: EventHistory): void {
  const masterId = currentVersion(event).resource.recurringEventId;
  if (typeof masterId !== "string") return;
  const known = calendar.exceptions.get(masterId);
  if (!known) calendar.exceptions.set(masterId, [event.ordinal]);
  else if (!known.includes(event.ordinal)) known.push(event.ordinal);
}

function recordVersion(calendar: Calendar, resource: EventResource, fromMs: number): EventHistory {
  const id = resource.id ?? "";
  const revision = calendar.events.revision() + 1;
  const stamped: EventResource = {
    ...resource,
    kind: "calendar#event",
    etag: `"${fromMs}${String(revision).padStart(6, "0")}"`,
    updated: new Date(fromMs).toISOString(),
  };
  const version: EventVersion = { resource: stamped, revision, fromMs };
  const known = calendar.eventsById.get(id);
  if (known) {
    // Only current versions are ever sent again; the oracle keeps the resources.
    const before = currentVersion(known);
    before.json = undefined;
    before.masked = undefined;
    known.versions.push(version);
    calendar.events.touch(known.ordinal);
    return known;
  }
  const event: EventHistory = { id, ordinal: calendar.events.items.length, versions: [version] };
  calendar.events.append(event);
  calendar.eventsById.set(id, event);
  indexException(calendar, event);
  return event;
}

function relist(account: Account, calendarId: string, role: AccessRole): void {
  const listed = account.listedById.get(calendarId);
  if (listed) {
    listed.isDeleted = role === "none";
    account.list.touch(listed.ordinal);
    listed.revision = account.list.revision();
    return;
  }
  if (role === "none") return;
  const entry: ListedCalendar = {
    calendarId,
    ordinal: account.list.items.length,
    own: { selected: true },
    isDeleted: false,
    revision: account.list.revision() + 1,
  };
  account.list.append(entry);
  account.listedById.set(calendarId, entry);
}
