import { z } from "zod";
import { encodeCursor } from "../core/change-wire.ts";
import type { Clock } from "../core/clock.ts";
import type { TenantStore } from "../core/tenant-store.ts";
import { findAddressProblem } from "../core/webhook-address.ts";
import { makeWebhookSecret } from "../core/webhook-secret.ts";
import type { WebhookRow, WebhookStore } from "../core/webhook-store.ts";
import { isoOrNull, moment, named } from "./api-fields.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";
import { HttpProblem } from "./http-problem.ts";
import { ownTenant, unknownTenant } from "./visible.ts";

const webhookSchema = z
  .strictObject({
    tenant: z.string(),
    url: z.string(),
    state: z.enum(["active", "failing", "disabled"]),
    /** What the last failure was, or why it was disabled. */
    reason: z.string().nullable(),
    failingSince: moment.nullable(),
    /** When it is tried again; null: nothing is wrong, or it is disabled. */
    retryAt: moment.nullable(),
    deliveredAt: moment.nullable(),
    /** Changes up to this cursor were taken by the receiver. */
    cursor: z.string(),
  })
  .meta({ id: "Webhook" });
const oneWebhook = z.strictObject({ schemaVersion: z.literal(1), webhook: webhookSchema });
const operators = { scope: "operate", for: "operators" } as const;
const params = z.strictObject({ tenant: named.tenant });

/** `GET /v1/tenants/{tenant}/webhook` */
export const getWebhook = defineRoute({
  method: "GET",
  path: "/v1/tenants/{tenant}/webhook",
  summary: "Where a tenant's changes are sent, and how that goes.",
  access: { scope: "read", for: "tenants" },
  params,
  answer: oneWebhook,
  problems: ["unknown-tenant", "unknown-webhook"],
});

/** `POST /v1/tenants/{tenant}/webhook` */
export const setWebhook = defineRoute({
  method: "POST",
  path: "/v1/tenants/{tenant}/webhook",
  summary:
    "Send a tenant's changes to an address, signed with a new secret that is shown this once. A webhook that is there already keeps its place in the feed.",
  access: operators,
  params,
  body: z.strictObject({
    url: z.string().min(1).max(2_048).meta({ example: "https://app.example/ballast" }),
  }),
  status: 201,
  answer: z.strictObject({
    schemaVersion: z.literal(1),
    webhook: webhookSchema,
    secret: z.string(),
  }),
  problems: ["unknown-tenant"],
});

/** `DELETE /v1/tenants/{tenant}/webhook` */
export const removeWebhook = defineRoute({
  method: "DELETE",
  path: "/v1/tenants/{tenant}/webhook",
  summary: "Send a tenant's changes nowhere any more. The feed itself is kept.",
  access: operators,
  params,
  answer: z.strictObject({ schemaVersion: z.literal(1), removed: z.literal(true) }),
  problems: ["unknown-tenant", "unknown-webhook"],
});

/** What the webhooks' routes need. */
export interface WebhookRoutesDeps {
  readonly tenants: Pick<TenantStore, "get">;
  readonly webhooks: Pick<WebhookStore, "get" | "set" | "remove">;
  /** Whether webhooks may point at loopback and private addresses. */
  readonly allowPrivateWebhooks: boolean;
  readonly clock: Pick<Clock, "now">;
}

/** The handlers of the webhooks' routes. */
export function createWebhookHandlers(deps: WebhookRoutesDeps): {
  readonly getWebhook: ApiHandler<typeof getWebhook>;
  readonly setWebhook: ApiHandler<typeof setWebhook>;
  readonly removeWebhook: ApiHandler<typeof removeWebhook>;
} {
  const { tenants, webhooks, clock } = deps;
  return {
    async getWebhook({ caller, params: { tenant }, chargeTarget }) {
      await ownTenant(caller, tenant, tenants);
      chargeTarget(tenant);
      const row = await webhooks.get(tenant);
      if (row === undefined) throw unknownWebhook();
      return { body: { schemaVersion: 1, webhook: shown(row) } };
    },
    async setWebhook({ caller, params: { tenant }, body: { url }, chargeTarget }) {
      chargeTarget(tenant);
      const problem = findAddressProblem(url, { allowPrivate: deps.allowPrivateWebhooks });
      if (problem !== undefined)
        throw new HttpProblem("invalid-body", { detail: `url: ${problem}` });
      const secret = makeWebhookSecret();
      const by = { actor: caller.name, now: clock.now() };
      const outcome = await webhooks.set(tenant, { url, secret }, by);
      const row = await webhooks.get(tenant);
      if (outcome === "unknown-tenant" || row === undefined) throw unknownTenant();
      return { body: { schemaVersion: 1, webhook: shown(row), secret } };
    },
    async removeWebhook({ caller, params: { tenant }, chargeTarget }) {
      await ownTenant(caller, tenant, tenants);
      chargeTarget(tenant);
      const by = { actor: caller.name, now: clock.now() };
      if ((await webhooks.remove(tenant, by)) === "unknown-webhook") throw unknownWebhook();
      return { body: { schemaVersion: 1, removed: true } };
    },
  };
}

function unknownWebhook(): HttpProblem {
  return new HttpProblem("unknown-webhook", {
    detail: "No webhook was set for this tenant.",
  });
}

function shown(row: WebhookRow): z.input<typeof webhookSchema> {
  const { tenantId, url, state, reason, position } = row;
  return {
    tenant: tenantId,
    url,
    state,
    reason: reason ?? null,
    failingSince: isoOrNull(row.failingSince),
    retryAt: state === "failing" ? isoOrNull(row.dueAt) : null,
    deliveredAt: isoOrNull(row.deliveredAt),
    cursor: encodeCursor(tenantId, position),
  };
}
