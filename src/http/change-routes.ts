import { z } from "zod";
import type { ChangePosition, ChangeStore } from "../core/change-store.ts";
import { decodeCursor, describeChange, encodeCursor } from "../core/change-wire.ts";
import type { Clock } from "../core/clock.ts";
import type { TenantId } from "../core/ids.ts";
import type { TenantStore } from "../core/tenant-store.ts";
import { moment, named, queryInteger } from "./api-fields.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";
import { HttpProblem } from "./http-problem.ts";
import { ownTenant } from "./visible.ts";
import type { ChangeWaits } from "./wait-for-changes.ts";

/** Below what the server gives a connection on which nothing moves. */
const MOST_WAIT_S = 15;

const eventChange = z.strictObject({
  kind: z.enum(["event-created", "event-updated", "event-deleted"]),
  accountId: z.string(),
  calendarId: z.string(),
  /** Google's. */
  eventId: z.string(),
  generation: z.int().min(0),
  at: moment,
});
const calendarChange = z.strictObject({
  kind: z.enum([
    "calendar-added",
    "calendar-replaced",
    "calendar-lost",
    "calendar-returned",
    "calendar-removed",
  ]),
  accountId: z.string(),
  calendarId: z.string(),
  generation: z.int().min(0),
  at: moment,
});
const accountChange = z.strictObject({
  kind: z.enum([
    "account-connected",
    "account-needs-reconnect",
    "account-paused",
    "account-resumed",
    "account-removed",
  ]),
  accountId: z.string(),
  state: z.enum(["connected", "needs-reconnect", "paused", "removed"]),
  reason: z.string().nullable(),
  at: moment,
});
const changeSchema = z.union([eventChange, calendarChange, accountChange]).meta({
  id: "Change",
  description:
    "What changed; read it anew from the mirror. `calendar-replaced`: too much to name, read the whole calendar. The state of an account is the one it came into.",
});

/** `GET /v1/changes` */
export const listChanges = defineRoute({
  method: "GET",
  path: "/v1/changes",
  summary:
    "A tenant's changes after a cursor, in the order of their commits, at least once. Without `after`: where to begin; take it, read everything, then follow. With `wait`, an answer that would be empty is held back until something changes, at most so many seconds. `changes-forgotten`: its `next` is the cursor to go on from after everything was read anew.",
  access: { scope: "read", for: "tenants" },
  query: z.strictObject({
    tenant: named.tenant.optional(),
    after: z.string().min(1).max(64).optional(),
    limit: queryInteger({ min: 1, max: 1_000 }).default(100),
    wait: queryInteger({ min: 0, max: MOST_WAIT_S }).default(0),
  }),
  answer: z.strictObject({
    schemaVersion: z.literal(1),
    changes: z.array(changeSchema),
    /** Where to go on; never null, for a feed has no end. */
    next: z.string(),
    /** There may be more behind `next` already. */
    more: z.boolean(),
  }),
  problems: ["unknown-tenant", "bad-cursor", "changes-forgotten"],
});

/** What the route of changes needs. */
export interface ChangeRoutesDeps {
  readonly tenants: Pick<TenantStore, "get">;
  readonly changes: Pick<ChangeStore, "read" | "head">;
  readonly changeWaits: ChangeWaits;
  readonly clock: Pick<Clock, "monotonicMs">;
}

interface Followed {
  readonly tenantId: TenantId;
  readonly after: ChangePosition;
  readonly limit: number;
}

/** The handler of the feed. */
export function createChangeHandlers(deps: ChangeRoutesDeps): {
  readonly listChanges: ApiHandler<typeof listChanges>;
} {
  const { tenants, changes, changeWaits, clock } = deps;

  const read = async (followed: Followed): Promise<Page> => {
    const { tenantId, after, limit } = followed;
    const page = await changes.read(tenantId, { after, limit });
    if (page.kind === "forgotten") throw forgotten(tenantId, await changes.head(tenantId));
    return page;
  };

  return {
    async listChanges({ caller, query, chargeTarget, signal }) {
      const tenantId = await ownTenant(caller, query.tenant, tenants);
      if (tenantId === undefined) {
        throw new HttpProblem("invalid-parameter", {
          detail: "tenant: an operator's token has to name the tenant",
        });
      }
      chargeTarget(tenantId);
      if (query.after === undefined) {
        const page = { changes: [], next: await changes.head(tenantId) };
        return { body: shown(tenantId, page, false) };
      }
      const after = decodeCursor(tenantId, query.after);
      if (after === undefined) {
        throw new HttpProblem("bad-cursor", {
          detail: "after: should be `next` of an answer about this tenant",
        });
      }
      const followed = { tenantId, after, limit: query.limit };
      const endsAtMs = clock.monotonicMs() + query.wait * 1_000;
      let page = await read(followed);
      for (;;) {
        const waitMs = endsAtMs - clock.monotonicMs();
        if (page.changes.length > 0 || waitMs <= 0 || signal.aborted) break;
        const what = { tenantId, after, tokenId: caller.tokenId };
        const why = await changeWaits.wait(what, { waitMs, signal });
        page = await read(followed);
        if (why === "closing") break;
      }
      return { body: shown(tenantId, page, page.changes.length === query.limit) };
    },
  };
}

type Page = Pick<
  Extract<Awaited<ReturnType<ChangeStore["read"]>>, { readonly kind: "changes" }>,
  "changes" | "next"
>;

function shown(
  tenantId: TenantId,
  { changes, next }: Page,
  more: boolean,
): z.input<(typeof listChanges)["answer"]> {
  return {
    schemaVersion: 1,
    changes: changes.map(describeChange),
    next: encodeCursor(tenantId, next),
    more,
  };
}

function forgotten(tenantId: TenantId, head: ChangePosition): HttpProblem {
  return new HttpProblem("changes-forgotten", {
    detail:
      "Changes after this cursor are kept no longer. Read everything anew, then go on from `next`.",
    next: encodeCursor(tenantId, head),
  });
}
