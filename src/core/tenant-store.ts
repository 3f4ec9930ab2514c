import type { EpochMs } from "./clock.ts";
import type { TenantId } from "./ids.ts";

export interface TenantRow {
  readonly id: TenantId;
  readonly createdAt: EpochMs;
}

/** Tenants; they come with their first account. */
export interface TenantStore {
  get(id: TenantId): Promise<TenantRow | undefined>;
  /** In order of id, after `after`; at most `limit`, up to 1000. */
  list(page: {
    readonly after?: TenantId | undefined;
    readonly limit: number;
  }): Promise<readonly TenantRow[]>;
}
