import type { ApiAnswer, ApiCall, ApiContext, Operation } from "./api-call.ts";
import { getCalendar, getListedCalendar, listCalendars } from "./calendar-list.ts";
import type { Channels } from "./channels.ts";
import { listEvents } from "./events-list.ts";
import { deleteEvent, getEvent, insertEvent, patchEvent, updateEvent } from "./events-write.ts";
import { queryFreeBusy } from "./freebusy.ts";
import { listInstances } from "./instances.ts";

/** Runs one operation; refusals are thrown as `GoogleError`. */
export type RunOperation = (call: ApiCall) => ApiAnswer;

/** Bind every operation to a world. */
export function createOperations(
  context: ApiContext,
  deps: { readonly channels: Channels },
): RunOperation {
  const handlers: Record<Operation, (call: ApiCall, context: ApiContext) => ApiAnswer> = {
    "calendarList.list": listCalendars,
    "calendarList.get": getListedCalendar,
    "calendars.get": getCalendar,
    "events.list": listEvents,
    "events.get": getEvent,
    "events.insert": insertEvent,
    "events.update": updateEvent,
    "events.patch": patchEvent,
    "events.delete": deleteEvent,
    "events.instances": listInstances,
    "events.watch": (call) => deps.channels.watch(call, context),
    "channels.stop": (call) => deps.channels.stop(call),
    "freebusy.query": queryFreeBusy,
  };
  return (call) => handlers[call.operation](call, context);
}
