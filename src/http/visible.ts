import type { TenantId } from "../core/ids.ts";
import type { TenantStore } from "../core/tenant-store.ts";
import { HttpProblem } from "./http-problem.ts";
import type { Caller } from "./verify-token.ts";

/**
 * The tenant that a list is about: the caller's own, or the one that an operator asks for; undefined: all. What
 * another tenant is called is answered as if there were none of that name.
 */
export async function ownTenant(
  caller: Caller,
  asked: TenantId | undefined,
  tenants: Pick<TenantStore, "get">,
): Promise<TenantId | undefined> {
  if (asked === undefined) return caller.tenantId;
  const isTheirs = caller.tenantId === undefined || caller.tenantId === asked;
  // Looked up in any case: the same answer after the same work.
  const row = await tenants.get(asked);
  if (row === undefined || !isTheirs) throw unknownTenant();
  return asked;
}

/** Whether what was found is the caller's to see. */
export function isVisible<Row extends { readonly tenantId: TenantId }>(
  caller: Caller,
  row: Row | undefined,
): row is Row {
  return row !== undefined && (caller.tenantId === undefined || caller.tenantId === row.tenantId);
}

/** The same whether there is none or it is another's. */
export function unknownTenant(): HttpProblem {
  return new HttpProblem("unknown-tenant", {
    detail: "No tenant that this token may see is named by the request.",
  });
}

/** The same whether there is none or it is another's. */
export function unknownAccount(): HttpProblem {
  return new HttpProblem("unknown-account", {
    detail: "No account that this token may see is named by the request.",
  });
}

/** The same whether there is none or it is another's. */
export function unknownCalendar(): HttpProblem {
  return new HttpProblem("unknown-calendar", {
    detail: "No calendar that this token may see is named by the request.",
  });
}
