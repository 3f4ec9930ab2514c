import type { calendar_v3 } from "@googleapis/calendar";

/** One event as Google writes it on the wire. */
export type EventResource = calendar_v3.Schema$Event;
/** `start`, `end` and `originalStartTime` of an event. */
export type EventDateTime = calendar_v3.Schema$EventDateTime;
/** One entry of an account's calendar list. */
export type CalendarListEntry = calendar_v3.Schema$CalendarListEntry;
/** A calendar's own metadata. */
export type CalendarResource = calendar_v3.Schema$Calendar;
/** A push channel, as asked for and as answered. */
export type ChannelResource = calendar_v3.Schema$Channel;
/** What `freebusy.query` answers. */
export type FreeBusyResponse = calendar_v3.Schema$FreeBusyResponse;

/** What an account may do with a calendar; `none` is no access at all. */
export type AccessRole = "none" | "freeBusyReader" | "reader" | "writer" | "owner";
