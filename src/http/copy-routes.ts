import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import type { EventStore } from "../core/event-store.ts";
import { freshnessSchema, named, queryInteger, queryList, toFreshness } from "./api-fields.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";
import type { TargetFinder } from "./find-target.ts";
import { isVisible, unknownCalendar } from "./visible.ts";

/** `GET /v1/calendars/{calendarId}/copy` */
export const readCopy = defineRoute({
  method: "GET",
  path: "/v1/calendars/{calendarId}/copy",
  summary:
    "A calendar's published copy, in order of id: single events, series and their exceptions as Google gives them, for who follows the changes. With `eventId`, those alone; what is not in the answer is not in the copy. Compare `freshness.generation` between pages.",
  access: { scope: "read", for: "tenants" },
  params: z.strictObject({ calendarId: named.calendarId }),
  query: z.strictObject({
    eventId: queryList(z.string().min(1).max(1_024), 100).optional(),
    limit: queryInteger({ min: 1, max: 1_000 }).default(250),
    after: z.string().min(1).max(8_192).optional(),
  }),
  answer: z.strictObject({
    schemaVersion: z.literal(1),
    calendarId: z.string(),
    /** Generation 0: never published, and so nothing is known. */
    freshness: freshnessSchema,
    events: z.array(z.looseObject({ id: z.string() })),
    next: z.string().nullable(),
  }),
  problems: ["unknown-calendar"],
});

/** What the route of copies needs. */
export interface CopyRouteDeps {
  readonly events: Pick<EventStore, "readEvents">;
  readonly targets: TargetFinder;
  readonly clock: Pick<Clock, "now">;
}

/** The handler of the route of copies. */
export function createCopyHandlers({ events, targets, clock }: CopyRouteDeps): {
  readonly readCopy: ApiHandler<typeof readCopy>;
} {
  return {
    async readCopy({ caller, params: { calendarId }, query, chargeTarget }) {
      const target = await targets.find({ calendarId });
      if (!isVisible(caller, target)) throw unknownCalendar();
      chargeTarget(target.tenantId);
      const { eventId: ids, after, limit } = query;
      const copy = await events.readEvents(calendarId, { ids, after, limit }, clock.now());
      if (copy.kind === "unknown-calendar") throw unknownCalendar();
      return {
        body: {
          schemaVersion: 1,
          calendarId,
          freshness: toFreshness(copy.freshness),
          events: [...copy.events],
          next: copy.next ?? null,
        },
      };
    },
  };
}
