import { epochMs } from "../core/clock.ts";
import { tenantId } from "../core/ids.ts";
import type { TenantRow, TenantStore } from "../core/tenant-store.ts";
import type { Database } from "./database.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

const MAX_LIST = 1_000;

/** Tenants, in the database. */
export function createTenantStore({ database }: { readonly database: Database }): TenantStore {
  return {
    async get(id) {
      const row = await database.read((db) =>
        db
          .selectFrom("tenants")
          .select(["id", "created_at"])
          .where("id", "=", toStoredText(id))
          .executeTakeFirst(),
      );
      return row === undefined ? undefined : toRow(row);
    },
    async list({ after, limit }) {
      const rows = await database.read((db) =>
        db
          .selectFrom("tenants")
          .select(["id", "created_at"])
          .$if(after !== undefined, (query) => query.where("id", ">", toStoredText(after ?? "")))
          .orderBy("id")
          .limit(Math.min(Math.max(limit, 1), MAX_LIST))
          .execute(),
      );
      return rows.map(toRow);
    },
  };
}

function toRow(row: { readonly id: string; readonly created_at: number }): TenantRow {
  return { id: tenantId(fromStoredText(row.id)), createdAt: epochMs(row.created_at) };
}
