import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { CalendarStore, RequestOutcome } from "../core/calendar-store.ts";
import type { Clock } from "../core/clock.ts";
import { tenantId } from "../core/ids.ts";
import type { CallerOf } from "./access.ts";
import {
  createTargetFinder,
  type Target,
  type TargetFinder,
  type TargetQuery,
} from "./find-target.ts";
import { HttpProblem } from "./http-problem.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { RequestRecorder } from "./record-requests.ts";
import type { Caller } from "./verify-token.ts";

const SCOPE = "refresh";

const ourId = z.string().regex(/^cal_[A-Za-z0-9_-]{1,64}$/, "calendarId is Ballast's own, cal_…");
const name = z.string().min(1).max(256);
const requestClass = z.enum(["interactive", "poll"]).default("interactive");
const byOurId = z.strictObject({ calendarId: ourId, class: requestClass });
const byGoogleId = z.strictObject({
  tenant: name.optional(),
  account: name,
  googleCalendarId: z.string().min(1).max(1_024),
  class: requestClass,
});
const bodySchema = z.union([byOurId, byGoogleId]);

/** What the refresh route is allowed and needs. */
export interface RefreshRouteDeps {
  readonly clock: Pick<Clock, "now">;
  readonly calendars: Pick<CalendarStore, "get" | "list">;
  readonly accounts: Parameters<typeof createTargetFinder>[0]["accounts"];
  readonly recorder: RequestRecorder;
}

/**
 * `POST /v1/refresh`: someone knows that a calendar changed, or a person waits for it. Marks the row (I6);
 * however many ask, it is one refresh. 202 with the mark: it will be refreshed; nothing is waited for.
 */
export function addRefreshRoute(
  server: FastifyInstance,
  access: { readonly callerOf: CallerOf; readonly limits: RateLimits },
  deps: RefreshRouteDeps,
): void {
  const targets = createTargetFinder(deps);
  server.post(
    "/v1/refresh",
    { config: { access: { scope: SCOPE, for: "tenants" } } },
    async (request, reply) => {
      const caller = access.callerOf(request);
      const { query, class: wanted } = readBody(request.body, caller);
      const target = await findTarget(query, caller, targets);
      access.limits.chargeTarget(caller, SCOPE, target.tenantId);
      const mark = (found: Target): Promise<RequestOutcome> => {
        const { calendarId } = found;
        return deps.recorder.record({ calendarId, class: wanted, dueAt: deps.clock.now() });
      };
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
      return reply.code(202).send({
        schemaVersion: 1,
        calendarId: target.calendarId,
        outcome: "marked",
        mark: outcome.mark,
      });
    },
  );
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

function readBody(
  body: unknown,
  caller: Caller,
): { readonly query: TargetQuery; readonly class: "interactive" | "poll" } {
  const parsed = bodySchema.safeParse(body);
  if (!parsed.success) throw invalidBody(describeIssues(parsed.error));
  const { data } = parsed;
  if ("calendarId" in data) {
    return { query: { calendarId: data.calendarId }, class: data.class };
  }
  const { account, googleCalendarId } = data;
  const tenant = data.tenant === undefined ? caller.tenantId : tenantId(data.tenant);
  if (tenant === undefined) throw invalidBody("an operator's token has to name the tenant");
  return { query: { tenantId: tenant, account, googleCalendarId }, class: data.class };
}

function invalidBody(why: string): HttpProblem {
  return new HttpProblem("invalid-body", {
    detail: `Send {"calendarId":"cal_…"} or {"tenant":…,"account":…,"googleCalendarId":…}, and "class":"poll" where nobody waits: ${why}`,
  });
}

function unknownCalendar(): HttpProblem {
  return new HttpProblem("unknown-calendar", {
    detail: "No calendar that this token may see is named by the request.",
  });
}

function describeIssues(error: z.ZodError): string {
  const texts = error.issues.flatMap((issue) =>
    issue.code === "invalid_union"
      ? issue.errors.map((branch) => branch.map((one) => one.message).join(", "))
      : [issue.message],
  );
  return texts.join("; or ");
}
