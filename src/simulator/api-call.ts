import { accessRequired, badParameter, notFound } from "./google-error.ts";
import type { AccessRole } from "./wire-resources.ts";
import type { Account, Calendar, World } from "./world.ts";

/** Every operation the simulator knows, by Google's names. */
export type Operation =
  | "calendarList.list"
  | "calendarList.get"
  | "calendars.get"
  | "events.list"
  | "events.get"
  | "events.insert"
  | "events.update"
  | "events.patch"
  | "events.delete"
  | "events.instances"
  | "events.watch"
  | "channels.stop"
  | "freebusy.query";

/** One authenticated call, as its handler sees it. */
export interface ApiCall {
  readonly operation: Operation;
  /** Decoded once; `primary` is the account's own. */
  readonly calendarId: string;
  readonly eventId: string;
  readonly query: URLSearchParams;
  /** The query as it came: part of what a list's etag stands for. */
  readonly queryText: string;
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly body: string;
  readonly account: Account;
  /** A fault asks for a page without items that has a next page. */
  readonly wantsEmptyPage: boolean;
}

/** What a handler answers; refusals are thrown as `GoogleError`. */
export interface ApiAnswer {
  readonly status: number;
  readonly body: string | undefined;
  readonly etag?: string | undefined;
}

/** What every handler works with. */
export interface ApiContext {
  readonly world: World;
  readonly syncTokenLifetimeMs: number;
}

const RANK: Record<AccessRole, number> = {
  none: 0,
  freeBusyReader: 1,
  reader: 2,
  writer: 3,
  owner: 4,
};

/** What an account may do with a calendar. */
export function roleOf(account: Account, calendar: Calendar): AccessRole {
  return calendar.isDeleted ? "none" : (calendar.acl.get(account.email) ?? "none");
}

/** Whether a role is enough. */
export function isAtLeast(role: AccessRole, needed: AccessRole): boolean {
  return RANK[role] >= RANK[needed];
}

/** The calendar a call names; 404 when it is unknown to this account, 403 when the role is too low. */
export function requireCalendar(call: ApiCall, context: ApiContext, needed: AccessRole): Calendar {
  const calendar = context.world.calendars.get(call.calendarId);
  const role = calendar ? roleOf(call.account, calendar) : "none";
  if (!calendar || role === "none") throw notFound();
  if (!isAtLeast(role, needed)) throw accessRequired(needed);
  return calendar;
}

/** `maxResults` as Google reads it: a default, silently capped, refused below 1. */
export function readMaxResults(
  query: URLSearchParams,
  limits: { readonly byDefault: number; readonly cap: number },
): number {
  const text = query.get("maxResults");
  if (text === null) return limits.byDefault;
  const value = /^-?\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) {
    throw badParameter("maxResults", `Invalid integer value: '${text}'.`, "invalidParameter");
  }
  if (value < 1) {
    throw badParameter(
      "maxResults",
      `Invalid value '${text}'. Values must be within the range: [1, ${limits.cap}]`,
      "invalidParameter",
    );
  }
  return Math.min(value, limits.cap);
}

/** A boolean query parameter; 400 when it is neither. */
export function readBoolean(query: URLSearchParams, name: string): boolean | undefined {
  const text = query.get(name);
  if (text === null || text === "") return undefined;
  if (text === "true" || text === "1") return true;
  if (text === "false" || text === "0") return false;
  throw badParameter(name, `Invalid boolean value: '${text}'.`, "invalidParameter");
}

/** Answer a conditional read: 304 when the client already has this state. */
export function answerConditionally(call: ApiCall, answer: ApiAnswer): ApiAnswer {
  return call.ifNoneMatch !== undefined && call.ifNoneMatch === answer.etag
    ? { status: 304, body: undefined, etag: answer.etag }
    : answer;
}
