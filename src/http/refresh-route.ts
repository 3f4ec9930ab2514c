import { z } from "zod";
import type { RequestOutcome } from "../core/calendar-store.ts";
import type { Clock } from "../core/clock.ts";
import { named } from "./api-fields.ts";
import { defineRoute, type ApiHandler, type ApiRequest } from "./define-route.ts";
import type { Target, TargetFinder, TargetQuery } from "./find-target.ts";
import { HttpProblem } from "./http-problem.ts";
import type { RequestRecorder } from "./record-requests.ts";
import type { Caller } from "./verify-token.ts";
import { unknownCalendar } from "./visible.ts";

const requestClass = z
  .enum(["interactive", "poll"])
  .default("interactive")
  .meta({ description: "`poll` where nobody waits." });
const byOurId = z.strictObject({ calendarId: named.calendarId, class: requestClass });
const byGoogleId = z.strictObject({
  tenant: named.tenant.optional(),
  account: named.accountName,
  googleCalendarId: named.googleCalendarId,
  class: requestClass,
});

/** `POST /v1/refresh` */
export const requestRefresh = defineRoute({
  method: "POST",
  path: "/v1/refresh",
  summary:
    "Someone knows that a calendar changed, or waits for it. However many ask, it is one refresh; nothing is waited for. It is served when the calendar's `served` has reached `mark`. An operator's token names the `tenant` beside an account.",
  access: { scope: "refresh", for: "tenants" },
  body: z.union([byOurId, byGoogleId]),
  status: 202,
  answer: z.strictObject({
    schemaVersion: z.literal(1),
    calendarId: z.string(),
    outcome: z.literal("marked"),
    mark: z.int(),
  }),
  problems: ["unknown-calendar", "calendar-not-refreshable"],
});

/** What the refresh route needs. */
export interface RefreshRouteDeps {
  readonly clock: Pick<Clock, "now">;
  readonly targets: TargetFinder;
  readonly recorder: RequestRecorder;
}

/** The handler of the refresh route. Marks the row (I6); 202 when the mark is in the database. */
export function createRefreshHandlers({ clock, targets, recorder }: RefreshRouteDeps): {
  readonly requestRefresh: ApiHandler<typeof requestRefresh>;
} {
  return {
    async requestRefresh({ caller, body, chargeTarget }) {
      const query = queryOf(body, caller);
      const target = await findTarget(query, caller, targets);
      chargeTarget(target.tenantId);
      const mark = ({ calendarId }: Target): Promise<RequestOutcome> =>
        recorder.record({ calendarId, class: body.class, dueAt: clock.now() });
      let outcome = await mark(target);
      if (outcome.kind === "unknown-calendar") {
        // Removed since it was found, and perhaps connected again under another id.
        targets.forget(query);
        outcome = await mark(await findTarget(query, caller, targets));
      }
      if (outcome.kind === "unknown-calendar") throw unknownCalendar();
      if (outcome.kind === "not-refreshable") {
        throw new HttpProblem("calendar-not-refreshable", {
          detail: `${target.calendarId} is lost or paused, or its account must be connected again.`,
        });
      }
      return {
        body: {
          schemaVersion: 1,
          calendarId: target.calendarId,
          outcome: "marked",
          mark: outcome.mark,
        },
      };
    },
  };
}

/** Another tenant's calendar is not there: same answer, same work. */
async function findTarget(
  query: TargetQuery,
  caller: Caller,
  targets: TargetFinder,
): Promise<Target> {
  const target = await targets.find(query);
  const isTheirs = caller.tenantId === undefined || caller.tenantId === target?.tenantId;
  if (target === undefined || !isTheirs) throw unknownCalendar();
  return target;
}

function queryOf(body: ApiRequest<typeof requestRefresh>["body"], caller: Caller): TargetQuery {
  if ("calendarId" in body) return { calendarId: body.calendarId };
  const tenant = body.tenant ?? caller.tenantId;
  if (tenant === undefined) {
    throw new HttpProblem("invalid-body", {
      detail: "tenant: an operator's token has to name the tenant.",
    });
  }
  return { tenantId: tenant, account: body.account, googleCalendarId: body.googleCalendarId };
}
