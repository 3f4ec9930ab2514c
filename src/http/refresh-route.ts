import rateLimit from "@fastify/rate-limit";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import type { AccountStore } from "../core/account-store.ts";
import type { CalendarStore } from "../core/calendar-store.ts";
import type { Clock } from "../core/clock.ts";
import {
  accountName,
  calendarId,
  tenantId,
  type CalendarId,
  type GoogleCalendarId,
} from "../core/ids.ts";
import { authenticate, type ApiToken } from "./bearer-tokens.ts";
import { HttpProblem } from "./http-problem.ts";

const SCOPE = "refresh";
const MINUTE_MS = 60_000;
const PAGE = 1_000;

const ourId = z.string().regex(/^cal_[A-Za-z0-9_-]{1,64}$/, "calendarId is Ballast's own, cal_…");
const name = z.string().min(1).max(256);
const byOurId = z.strictObject({ calendarId: ourId });
const byGoogleId = z.strictObject({
  tenant: name,
  account: name,
  googleCalendarId: z.string().min(1).max(1_024),
});
const bodySchema = z.union([byOurId, byGoogleId]);

/** What the refresh route is allowed and needs. */
export interface RefreshRouteDeps {
  readonly clock: Pick<Clock, "now">;
  readonly calendars: Pick<CalendarStore, "request" | "list">;
  readonly accounts: Pick<AccountStore, "find">;
}

/**
 * `POST /v1/refresh`: someone knows that a calendar changed, or a person waits for it. Marks the row (I6);
 * however many ask, it is one refresh. 202: it will be refreshed; nothing is waited for.
 */
export async function addRefreshRoute(
  server: FastifyInstance,
  options: { readonly tokens: readonly ApiToken[]; readonly requestsPerMinute: number },
  deps: RefreshRouteDeps,
): Promise<void> {
  const callers = new WeakMap<FastifyRequest, ApiToken>();
  await server.register(rateLimit, {
    global: false,
    max: options.requestsPerMinute,
    timeWindow: MINUTE_MS,
    // After the token is known: each token has its own limit, whatever address it calls from.
    hook: "preParsing",
    keyGenerator: (request) => callers.get(request)?.name ?? request.ip,
    errorResponseBuilder: (_request, { max, ttl }) =>
      new HttpProblem("too-many-requests", {
        detail: `This token may ask ${String(max)} times a minute. Asking again for the same calendar is not needed: it is refreshed once.`,
        retryAfterSeconds: Math.max(1, Math.ceil(ttl / 1_000)),
      }),
  });

  server.post(
    "/v1/refresh",
    {
      onRequest: (request, _reply, done) => {
        callers.set(request, authenticate(request.headers.authorization, options.tokens, SCOPE));
        done();
      },
      config: { rateLimit: {} },
    },
    async (request, reply) => {
      const id = await findTarget(request.body, deps);
      const outcome = await deps.calendars.request(id, {
        class: "interactive",
        dueAt: deps.clock.now(),
      });
      if (outcome === "unknown-calendar") throw unknownCalendar(id);
      if (outcome === "not-refreshable") {
        throw new HttpProblem("calendar-not-refreshable", {
          detail: `${id} is lost or paused, or its account must be connected again.`,
        });
      }
      return reply.code(202).send({ schemaVersion: 1, calendarId: id, outcome: "marked" });
    },
  );
}

async function findTarget(body: unknown, deps: RefreshRouteDeps): Promise<CalendarId> {
  const parsed = bodySchema.safeParse(body);
  if (!parsed.success) {
    throw new HttpProblem("invalid-body", {
      detail: `Send {"calendarId":"cal_…"} or {"tenant":…,"account":…,"googleCalendarId":…}: ${describeIssues(parsed.error)}`,
    });
  }
  if ("calendarId" in parsed.data) return calendarId(parsed.data.calendarId);
  const { tenant, account, googleCalendarId } = parsed.data;
  const row = await deps.accounts.find(tenantId(tenant), accountName(account));
  if (row === undefined) throw unknownCalendar(`account ${account} of tenant ${tenant}`);
  // An account has tens of calendars, seldom hundreds: paging through them needs no index of its own.
  let after: CalendarId | undefined;
  for (;;) {
    const page = await deps.calendars.list({ accountId: row.id, after, limit: PAGE });
    const found = page.find(({ googleId }) => isSame(googleId, googleCalendarId));
    if (found !== undefined) return found.id;
    after = page.at(-1)?.id;
    if (page.length < PAGE || after === undefined) throw unknownCalendar(googleCalendarId);
  }
}

/** Case matters: ids that differ only by case are two calendars. */
function isSame(googleId: GoogleCalendarId, text: string): boolean {
  return String(googleId) === text;
}

function unknownCalendar(what: string): HttpProblem {
  return new HttpProblem("unknown-calendar", {
    detail: `${what} is not known here. \`ballast calendars\` lists those that are.`,
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
