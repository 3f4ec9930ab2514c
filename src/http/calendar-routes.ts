import { z } from "zod";
import type { AccountStore } from "../core/account-store.ts";
import type { CalendarRow, CalendarStore } from "../core/calendar-store.ts";
import type { Clock } from "../core/clock.ts";
import type { EventStore } from "../core/event-store.ts";
import type { TenantStore } from "../core/tenant-store.ts";
import {
  freshnessSchema,
  isoOrNull,
  moment,
  named,
  pageFields,
  toFreshness,
  toPage,
} from "./api-fields.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";
import { isVisible, ownTenant, unknownAccount, unknownCalendar } from "./visible.ts";

const calendarSchema = z
  .strictObject({
    id: z.string(),
    tenant: z.string(),
    accountId: z.string(),
    googleCalendarId: z.string(),
    /** Null in a mirror that keeps no titles. */
    summary: z.string().nullable(),
    timeZone: z.string().nullable(),
    accessRole: z.string().nullable(),
    isPrimary: z.boolean(),
    isHidden: z.boolean(),
    publishedAt: moment.nullable(),
    /** A refresh's mark is served when `served` has reached it. */
    requested: z.int(),
    served: z.int(),
    dueAt: moment.nullable(),
    dueReason: z.string(),
    freshness: freshnessSchema,
  })
  .meta({ id: "Calendar" });

const access = { scope: "read", for: "tenants" } as const;

/** `GET /v1/calendars` */
export const listCalendars = defineRoute({
  method: "GET",
  path: "/v1/calendars",
  summary:
    "The calendars that the token may see, each with how current its copy is, in order of id.",
  access,
  query: z.strictObject({
    tenant: named.tenant.optional(),
    accountId: named.accountId.optional(),
    state: freshnessSchema.shape.state.optional(),
    limit: pageFields.limit,
    after: named.calendarId.optional(),
  }),
  answer: z.strictObject({
    schemaVersion: z.literal(1),
    calendars: z.array(calendarSchema),
    next: z.string().nullable(),
  }),
  problems: ["unknown-tenant", "unknown-account"],
});

/** `GET /v1/calendars/{calendarId}` */
export const getCalendar = defineRoute({
  method: "GET",
  path: "/v1/calendars/{calendarId}",
  summary: "One calendar.",
  access,
  params: z.strictObject({ calendarId: named.calendarId }),
  answer: z.strictObject({ schemaVersion: z.literal(1), calendar: calendarSchema }),
  problems: ["unknown-calendar"],
});

/** What the calendars' routes need. */
export interface CalendarRoutesDeps {
  readonly tenants: Pick<TenantStore, "get">;
  readonly accounts: Pick<AccountStore, "get">;
  readonly calendars: Pick<CalendarStore, "get" | "list">;
  readonly events: Pick<EventStore, "readFacts">;
  readonly clock: Pick<Clock, "now">;
}

/** The handlers of the calendars' routes. */
export function createCalendarHandlers(deps: CalendarRoutesDeps): {
  readonly listCalendars: ApiHandler<typeof listCalendars>;
  readonly getCalendar: ApiHandler<typeof getCalendar>;
} {
  const { tenants, accounts, calendars } = deps;
  return {
    async listCalendars({ caller, query, chargeTarget }) {
      const { tenant, accountId, state, after, limit } = query;
      const own = await ownTenant(caller, tenant, tenants);
      if (own !== undefined) chargeTarget(own);
      if (accountId !== undefined) {
        const account = await accounts.get(accountId);
        if (!isVisible(caller, account)) throw unknownAccount();
        chargeTarget(account.tenantId);
      }
      const filter = { tenantId: own, accountId, state, after, limit: limit + 1 };
      const rows = await calendars.list(filter);
      const { page, next } = toPage(rows, limit);
      const shownPage = await withFreshness(page, deps);
      return { body: { schemaVersion: 1, calendars: shownPage, next } };
    },
    async getCalendar({ caller, params, chargeTarget }) {
      const row = await calendars.get(params.calendarId);
      if (!isVisible(caller, row)) throw unknownCalendar();
      chargeTarget(row.tenantId);
      const [calendar] = await withFreshness([row], deps);
      // Removed since it was read.
      if (calendar === undefined) throw unknownCalendar();
      return { body: { schemaVersion: 1, calendar } };
    },
  };
}

async function withFreshness(
  rows: readonly CalendarRow[],
  { events, clock }: Pick<CalendarRoutesDeps, "events" | "clock">,
): Promise<z.input<typeof calendarSchema>[]> {
  const facts = await events.readFacts(
    rows.map(({ id }) => id),
    clock.now(),
  );
  const byId = new Map(facts.map((one) => [one.calendarId, one.freshness]));
  return rows.flatMap((row) => {
    const freshness = byId.get(row.id);
    return freshness === undefined ? [] : [{ ...shown(row), freshness: toFreshness(freshness) }];
  });
}

function shown(row: CalendarRow): Omit<z.input<typeof calendarSchema>, "freshness"> {
  return {
    id: row.id,
    tenant: row.tenantId,
    accountId: row.accountId,
    googleCalendarId: row.googleId,
    summary: row.summary ?? null,
    timeZone: row.timeZone ?? null,
    accessRole: row.accessRole ?? null,
    isPrimary: row.isPrimary,
    isHidden: row.isHidden,
    publishedAt: isoOrNull(row.publishedAt),
    requested: row.requested,
    served: row.served,
    dueAt: isoOrNull(row.dueAt),
    dueReason: row.dueReason,
  };
}
