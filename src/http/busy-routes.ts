import { z } from "zod";
import type { BusyAnswer, BusyQuestion, TimeRange } from "../core/calendar-reads.ts";
import {
  freshnessSchema,
  iso,
  moment,
  named,
  queryList,
  toFreshness,
  toUnknown,
  unknownTimeSchema,
} from "./api-fields.ts";
import { defineRoute, type ApiHandler, type ApiRequest } from "./define-route.ts";
import type { ReadRoutesDeps } from "./event-routes.ts";
import { MOST_WAIT_MS, rangeFields } from "./read-fields.ts";
import { unknownCalendar } from "./visible.ts";

const MOST_CALENDARS = 500;

const busyTime = z
  .strictObject({ from: moment, to: moment })
  .meta({ id: "BusyTime", description: "Busy from here to before there." });

const answer = z
  .strictObject({
    schemaVersion: z.literal(1),
    from: moment,
    to: moment,
    busy: z.array(busyTime),
    unknown: z.array(unknownTimeSchema),
    calendars: z.array(
      z.strictObject({
        calendarId: z.string(),
        freshness: freshnessSchema.nullable(),
        busy: z.array(busyTime),
        unknown: z.array(unknownTimeSchema),
      }),
    ),
  })
  .meta({
    id: "Busy",
    description:
      "What is neither in `busy` nor in `unknown` is free in all calendars. `freshness` null: there is no such calendar.",
  });

const tentative = z.enum(["busy", "free"]).default("busy").meta({
  description: "What tentative and unanswered events are.",
});
const access = { scope: "read", for: "tenants" } as const;
const problems = [
  "unknown-calendar",
  "range-empty",
  "range-too-long",
  "bad-time-zone",
  "answer-too-large",
] as const;

/** `GET /v1/busy` */
export const getBusy = defineRoute({
  method: "GET",
  path: "/v1/busy",
  summary:
    "When calendars are busy, and when nobody knows: `calendarId` once or many times, and each counts as one request. 404 when none of them is there; what is asked about one that is not there, beside others, is unknown.",
  access,
  query: z.strictObject({
    calendarId: queryList(named.calendarId, MOST_CALENDARS),
    ...rangeFields,
    tentative,
  }),
  answer,
  problems,
  hasEtag: true,
});

/** `POST /v1/busy` */
export const askBusy = defineRoute({
  method: "POST",
  path: "/v1/busy",
  summary: "As GET /v1/busy, for more calendars than an address can hold. Changes nothing.",
  access,
  body: z.strictObject({
    calendarIds: z.array(named.calendarId).min(1).max(MOST_CALENDARS),
    from: rangeFields.from,
    to: rangeFields.to,
    timeZone: rangeFields.timeZone,
    maxAgeMs: z
      .int()
      .min(0)
      .max(366 * 86_400_000)
      .optional(),
    refreshDeadlineMs: z.int().min(0).max(MOST_WAIT_MS).optional(),
    tentative,
  }),
  answer,
  problems,
  hasEtag: true,
});

/** The handlers of the routes that answer when calendars are busy. */
export function createBusyHandlers({ reader, targets }: ReadRoutesDeps): {
  readonly getBusy: ApiHandler<typeof getBusy>;
  readonly askBusy: ApiHandler<typeof askBusy>;
} {
  const ask = async (
    request: Pick<ApiRequest<typeof getBusy>, "caller" | "chargeTarget" | "chargeFor" | "signal">,
    question: Omit<BusyQuestion, "tenantId">,
  ): Promise<BusyReply> => {
    const { caller, signal } = request;
    request.chargeFor(question.calendarIds.length);
    if (caller.tenantId === undefined) {
      const found = new Set<Parameters<typeof request.chargeTarget>[0]>();
      for (const calendarId of new Set(question.calendarIds)) {
        const target = await targets.find({ calendarId });
        if (target !== undefined) found.add(target.tenantId);
      }
      for (const tenantId of found) request.chargeTarget(tenantId);
    }
    const busy = await reader.readBusy({ ...question, tenantId: caller.tenantId }, signal);
    if (busy.calendars.every(({ freshness }) => freshness === undefined)) throw unknownCalendar();
    return toAnswer(busy);
  };
  return {
    getBusy: (request) => {
      const { calendarId: calendarIds, ...question } = request.query;
      return ask(request, { ...question, calendarIds });
    },
    askBusy: (request) => ask(request, request.body),
  };
}

interface BusyReply {
  readonly body: z.input<typeof answer>;
  readonly version: unknown;
  readonly ageMs: number | undefined;
}

function toAnswer(busy: BusyAnswer): BusyReply {
  const ages = busy.calendars.map(({ freshness }) => freshness?.ageMs);
  return {
    body: {
      schemaVersion: 1,
      ...times(busy),
      busy: busy.busy.map(times),
      unknown: toUnknown(busy.unknown),
      calendars: busy.calendars.map((one) => ({
        calendarId: one.calendarId,
        freshness: one.freshness === undefined ? null : toFreshness(one.freshness),
        busy: one.busy.map(times),
        unknown: toUnknown(one.unknown),
      })),
    },
    version: busy.calendars.map(({ calendarId, freshness, busy: ranges, unknown }) => [
      calendarId,
      freshness?.state,
      freshness?.reason,
      freshness?.generation,
      freshness?.pending,
      ranges.map(({ from, to }) => [from, to]),
      unknown,
    ]),
    ageMs: ages.includes(undefined) ? undefined : Math.max(...ages.map((age) => age ?? 0)),
  };
}

function times({ from, to }: TimeRange): { from: string; to: string } {
  return { from: iso(from), to: iso(to) };
}
