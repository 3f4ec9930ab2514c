import { z } from "zod";
import { tenantId } from "../core/ids.ts";
import type { TenantRow, TenantStore } from "../core/tenant-store.ts";
import { iso, moment, named, pageFields, toPage } from "./api-fields.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";
import { unknownTenant } from "./visible.ts";

const tenantSchema = z.strictObject({ id: z.string(), createdAt: moment }).meta({ id: "Tenant" });

const access = { scope: "read", for: "tenants" } as const;

/** `GET /v1/tenants` */
export const listTenants = defineRoute({
  method: "GET",
  path: "/v1/tenants",
  summary: "The tenants that the token may see, in order of id.",
  access,
  query: z.strictObject(pageFields),
  answer: z.strictObject({
    schemaVersion: z.literal(1),
    tenants: z.array(tenantSchema),
    next: z.string().nullable(),
  }),
  problems: [],
});

/** `GET /v1/tenants/{tenant}` */
export const getTenant = defineRoute({
  method: "GET",
  path: "/v1/tenants/{tenant}",
  summary: "One tenant.",
  access,
  params: z.strictObject({ tenant: named.tenant }),
  answer: z.strictObject({ schemaVersion: z.literal(1), tenant: tenantSchema }),
  problems: ["unknown-tenant"],
});

/** What the tenants' routes need. */
export interface TenantRoutesDeps {
  readonly tenants: TenantStore;
}

/** The handlers of the tenants' routes. */
export function createTenantHandlers({ tenants }: TenantRoutesDeps): {
  readonly listTenants: ApiHandler<typeof listTenants>;
  readonly getTenant: ApiHandler<typeof getTenant>;
} {
  return {
    async listTenants({ caller, query: { after, limit } }) {
      const own = caller.tenantId;
      if (own !== undefined) {
        const row = await tenants.get(own);
        const isListed = row !== undefined && (after === undefined || row.id > after);
        return { body: { schemaVersion: 1, tenants: isListed ? [shown(row)] : [], next: null } };
      }
      const rows = await tenants.list({
        after: after === undefined ? undefined : tenantId(after),
        limit: limit + 1,
      });
      const { page, next } = toPage(rows, limit);
      return { body: { schemaVersion: 1, tenants: page.map(shown), next } };
    },
    async getTenant({ caller, params, chargeTarget }) {
      const row = await tenants.get(params.tenant);
      const isTheirs = caller.tenantId === undefined || caller.tenantId === params.tenant;
      if (row === undefined || !isTheirs) throw unknownTenant();
      chargeTarget(row.id);
      return { body: { schemaVersion: 1, tenant: shown(row) } };
    },
  };
}

function shown({ id, createdAt }: TenantRow): z.input<typeof tenantSchema> {
  return { id, createdAt: iso(createdAt) };
}
