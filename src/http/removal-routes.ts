import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import {
  COUNTED_EVENTS,
  type RemovalPreview,
  type RemovalRow,
  type RemovalStore,
  type RemovalTarget,
} from "../core/removal-store.ts";
import { iso, moment, named, queryInteger } from "./api-fields.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";
import { HttpProblem } from "./http-problem.ts";
import type { Caller } from "./verify-token.ts";
import { unknownAccount, unknownCalendar, unknownTenant } from "./visible.ts";

const BETWEEN_REMOVALS_MS = 1_000;
const MOST_TOKENS = 10_000;

const countsSchema = z.strictObject({
  channelsStopped: z.int(),
  channelsLeft: z.int(),
  tokensRevoked: z.int(),
  tokensLeft: z.int(),
  erasedRows: z.int(),
});
const removalSchema = z
  .strictObject({
    id: z.string(),
    kind: z.enum(["tenant", "account", "calendar"]),
    /** The tenant's name, or our id of the account or calendar. */
    subject: z.string(),
    tenant: z.string(),
    stage: z.enum(["marking", "releasing", "erasing", "settling"]),
    revoke: z.boolean(),
    askedAt: moment,
    askedBy: z.string(),
    reason: z.string().nullable(),
    done: countsSchema,
  })
  .meta({ id: "Removal" });
const previewSchema = z.strictObject({
  tenant: z.string(),
  accounts: z.int(),
  calendars: z.int(),
  events: z.int().meta({ description: `Counted up to ${String(COUNTED_EVENTS)}.` }),
  channels: z.int(),
  apiTokens: z.int(),
});

const access = { scope: "operate", for: "operators" } as const;
const query = z.strictObject({
  /** The name or id from the path once more: without it nothing is removed, and the answer is a preview. */
  confirm: z.string().max(256).optional(),
  /** End the access at Google, too. */
  revoke: z.enum(["true", "false"]).default("false"),
  reason: z.string().min(1).max(256).optional(),
});
const answer = z.strictObject({
  schemaVersion: z.literal(1),
  preview: previewSchema,
  /** Null: nothing was removed, `confirm` was not given. */
  removal: removalSchema.nullable(),
});
const ABOUT =
  "for good, with all that is stored of it: previewed, unless `confirm` repeats what the path names; then at once nothing of it is served or asked of Google, and a worker stops its channels, ends its credentials and erases its rows. At most one a second for each token.";

/** `DELETE /v1/tenants/{tenant}` */
export const removeTenant = defineRoute({
  method: "DELETE",
  path: "/v1/tenants/{tenant}",
  summary: `Remove a tenant ${ABOUT}`,
  access,
  params: z.strictObject({ tenant: named.tenant }),
  query,
  status: 202,
  answer,
  problems: ["unknown-tenant"],
});

/** `DELETE /v1/accounts/{accountId}` */
export const removeAccount = defineRoute({
  method: "DELETE",
  path: "/v1/accounts/{accountId}",
  summary: `Remove an account ${ABOUT}`,
  access,
  params: z.strictObject({ accountId: named.accountId }),
  query,
  status: 202,
  answer,
  problems: ["unknown-account"],
});

/** `DELETE /v1/calendars/{calendarId}` */
export const removeCalendar = defineRoute({
  method: "DELETE",
  path: "/v1/calendars/{calendarId}",
  summary: `Remove one calendar of an account that stays, which does not take it up again, ${ABOUT}`,
  access,
  params: z.strictObject({ calendarId: named.calendarId }),
  query,
  status: 202,
  answer,
  problems: ["unknown-calendar"],
});

/** `GET /v1/removals` */
export const listRemovals = defineRoute({
  method: "GET",
  path: "/v1/removals",
  summary:
    "The removals that are under way, longest asked first; what has ended is in the operator log.",
  access,
  query: z.strictObject({ limit: queryInteger({ min: 1, max: 500 }).default(100) }),
  answer: z.strictObject({ schemaVersion: z.literal(1), removals: z.array(removalSchema) }),
  problems: [],
});

/** What the removals' routes need. */
export interface RemovalRoutesDeps {
  readonly removals: Pick<RemovalStore, "preview" | "ask" | "list">;
  readonly clock: Pick<Clock, "now" | "monotonicMs">;
}

/** The handlers of the removals' routes. State: when each token last removed something, of this process. */
export function createRemovalHandlers(deps: RemovalRoutesDeps): {
  readonly removeTenant: ApiHandler<typeof removeTenant>;
  readonly removeAccount: ApiHandler<typeof removeAccount>;
  readonly removeCalendar: ApiHandler<typeof removeCalendar>;
  readonly listRemovals: ApiHandler<typeof listRemovals>;
} {
  const { removals } = deps;
  const pace = createPace(deps.clock);
  const remove = createRemove(deps, pace);
  return {
    removeTenant: ({ caller, params: { tenant }, query: how }) =>
      remove(
        { kind: "tenant", tenantId: tenant },
        { caller, how, name: tenant, unknownTarget: unknownTenant },
      ),
    removeAccount: ({ caller, params: { accountId }, query: how }) =>
      remove(
        { kind: "account", accountId },
        { caller, how, name: accountId, unknownTarget: unknownAccount },
      ),
    removeCalendar: ({ caller, params: { calendarId }, query: how }) =>
      remove(
        { kind: "calendar", calendarId },
        { caller, how, name: calendarId, unknownTarget: unknownCalendar },
      ),
    async listRemovals({ query: { limit } }) {
      const rows = await removals.list(limit);
      return { body: { schemaVersion: 1, removals: rows.map(shown) } };
    },
  };
}

interface Asked {
  readonly caller: Caller;
  readonly how: z.output<typeof query>;
  /** What `confirm` has to repeat. */
  readonly name: string;
  readonly unknownTarget: () => HttpProblem;
}

type Answer = Promise<{ readonly body: z.input<typeof answer> }>;

function createRemove(
  { removals, clock }: RemovalRoutesDeps,
  pace: (caller: Caller) => void,
): (target: RemovalTarget, asked: Asked) => Answer {
  return async (target, { caller, how, name, unknownTarget }) => {
    const preview = await removals.preview(target);
    if (preview === undefined) throw unknownTarget();
    const shownPreview = previewed(preview);
    const { confirm, revoke, reason } = how;
    if (confirm === undefined) {
      return { body: { schemaVersion: 1, preview: shownPreview, removal: null } };
    }
    if (confirm !== name) {
      throw new HttpProblem("invalid-parameter", {
        detail: "confirm: should repeat what the path names. Nothing was removed.",
      });
    }
    pace(caller);
    const by = {
      actor: caller.name,
      reason,
      isRevoking: revoke === "true",
      now: clock.now(),
    };
    const outcome = await removals.ask(target, by);
    if (outcome.kind === "unknown") throw unknownTarget();
    return { body: { schemaVersion: 1, preview: shownPreview, removal: shown(outcome.removal) } };
  };
}

/** Throws the 429. */
function createPace(clock: Pick<Clock, "monotonicMs">): (caller: Caller) => void {
  const lastMs = new Map<string, number>();
  return ({ tokenId }) => {
    const nowMs = clock.monotonicMs();
    const last = lastMs.get(tokenId);
    if (last !== undefined && nowMs - last < BETWEEN_REMOVALS_MS) {
      throw new HttpProblem("too-many-requests", {
        detail: "At most one removal a second for this token. Nothing was removed.",
        retryAfterSeconds: 1,
      });
    }
    lastMs.delete(tokenId);
    lastMs.set(tokenId, nowMs);
    const [oldest] = lastMs.keys();
    if (lastMs.size > MOST_TOKENS && oldest !== undefined) lastMs.delete(oldest);
  };
}

function previewed({
  tenantId: tenant,
  ...preview
}: RemovalPreview): z.input<typeof previewSchema> {
  return { tenant, ...preview };
}

function shown(row: RemovalRow): z.input<typeof removalSchema> {
  return {
    id: row.id,
    kind: row.kind,
    subject: row.subject,
    tenant: row.tenantId,
    stage: row.stage,
    revoke: row.isRevoking,
    askedAt: iso(row.askedAt),
    askedBy: row.askedBy,
    reason: row.reason ?? null,
    done: { ...row.counts },
  };
}
