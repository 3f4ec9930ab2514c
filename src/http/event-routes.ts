import { z } from "zod";
import type { CalendarReader } from "../core/calendar-reads.ts";
import type { TargetFinder } from "./find-target.ts";
import {
  freshnessSchema,
  iso,
  moment,
  named,
  queryInteger,
  toFreshness,
  toUnknown,
  unknownTimeSchema,
} from "./api-fields.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";
import { rangeFields } from "./read-fields.ts";
import { unknownCalendar } from "./visible.ts";

/** `GET /v1/events` */
export const listEvents = defineRoute({
  method: "GET",
  path: "/v1/events",
  summary:
    "What takes place in a calendar in a range of time, by start: single events, exceptions, and series as their occurrences. `unknown` says what nothing can be said about. Compare `freshness.generation` between pages.",
  access: { scope: "read", for: "tenants" },
  query: z.strictObject({
    calendarId: named.calendarId,
    ...rangeFields,
    limit: queryInteger({ min: 1, max: 2_500 }).default(250),
    after: z.string().min(1).max(2_048).optional().meta({
      description: "`next` of the page before.",
    }),
  }),
  answer: z.strictObject({
    schemaVersion: z.literal(1),
    calendarId: z.string(),
    freshness: freshnessSchema,
    events: z.array(
      z.strictObject({
        start: moment,
        end: moment,
        isAllDay: z.boolean(),
        /** As Google lists it with `singleEvents=true`. */
        event: z.looseObject({ id: z.string() }),
      }),
    ),
    unknown: z.array(unknownTimeSchema),
    next: z.string().nullable(),
  }),
  problems: [
    "unknown-calendar",
    "range-empty",
    "range-too-long",
    "bad-time-zone",
    "bad-cursor",
    "answer-too-large",
  ],
  hasEtag: true,
});

/** What reading needs. */
export interface ReadRoutesDeps {
  readonly reader: CalendarReader;
  /** Whose a calendar is: operators' requests are counted against its tenant. */
  readonly targets: TargetFinder;
}

/** The handler of the events' route. */
export function createEventHandlers({ reader, targets }: ReadRoutesDeps): {
  readonly listEvents: ApiHandler<typeof listEvents>;
} {
  return {
    async listEvents({ caller, query, signal, chargeTarget }) {
      if (caller.tenantId === undefined) {
        const target = await targets.find({ calendarId: query.calendarId });
        if (target !== undefined) chargeTarget(target.tenantId);
      }
      const answer = await reader.readEvents({ ...query, tenantId: caller.tenantId }, signal);
      if (answer.kind === "unknown-calendar") throw unknownCalendar();
      const { freshness, instances, unknown, next } = answer;
      const { state, reason, generation, pending } = freshness;
      return {
        body: {
          schemaVersion: 1,
          calendarId: query.calendarId,
          freshness: toFreshness(freshness),
          events: instances.map(({ startMs, endMs, isAllDay, event }) => ({
            start: iso(startMs),
            end: iso(endMs),
            isAllDay,
            event,
          })),
          unknown: toUnknown(unknown),
          next: next ?? null,
        },
        version: [
          [state, reason, generation, pending, unknown],
          instances.map(({ startMs, endMs, event }) => [startMs, endMs, event.id, event.etag]),
        ],
        ageMs: freshness.ageMs,
      };
    },
  };
}
