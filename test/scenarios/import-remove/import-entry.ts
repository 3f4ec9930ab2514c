import type { ImportEntry } from "../../../src/core/import-store.ts";
import { accountName, tenantId } from "../../../src/core/ids.ts";
import type { Person } from "./import-world.ts";

/** A person as an import stores them. */
export function importEntryOf({ tenant, name, refreshToken }: Person): ImportEntry {
  return {
    tenantId: tenantId(tenant),
    name: accountName(name),
    refreshToken,
    scopes: [],
    quotaUser: undefined,
    calendars: [],
    channels: [],
  };
}
