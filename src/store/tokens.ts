import type { Selectable } from "kysely";
import { epochMs } from "../core/clock.ts";
import { tenantId } from "../core/ids.ts";
import type { ApiTokenRow, StoredApiToken, TokenStore } from "../core/token-store.ts";
import { momentOf } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { appendEntry } from "./operator-log.ts";
import { findRemoval } from "./removal-scope.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";
import type { ApiTokensTable } from "./tables.ts";

const MAX_LIST = 1_000;

/** Tokens of the HTTP API, in the database. */
export function createTokenStore(deps: { readonly database: Database }): TokenStore {
  const { database } = deps;
  return {
    create: (token, by) => database.write((trx) => createToken(trx, token, by)),
    async list({ tenantId: tenant, after, limit }) {
      const rows = await database.read((db) =>
        db
          .selectFrom("api_tokens")
          .selectAll()
          .$if(tenant !== undefined, (query) =>
            query.where("tenant_id", "=", toStoredText(tenant ?? "")),
          )
          .$if(after !== undefined, (query) => query.where("id", ">", after ?? ""))
          .orderBy("id")
          .limit(Math.min(Math.max(limit, 1), MAX_LIST))
          .execute(),
      );
      return rows.map(toRow);
    },
    async find(ids) {
      if (ids.length === 0) return [];
      const rows = await database.read((db) =>
        db.selectFrom("api_tokens").selectAll().where("id", "in", ids.slice(0, MAX_LIST)).execute(),
      );
      return rows.map(toStored);
    },
    async hasUsable() {
      const row = await database.read((db) =>
        db
          .selectFrom("api_tokens")
          .select("id")
          .where("revoked_at", "is", null)
          .limit(1)
          .executeTakeFirst(),
      );
      return row !== undefined;
    },
    revoke: (id, by) => database.write((trx) => revokeToken(trx, id, by)),
    noteUsed: async (ids, now, everyMs) => {
      if (ids.length === 0) return;
      await database.write((trx) =>
        trx
          .updateTable("api_tokens")
          .set({ last_used_at: now })
          .where("id", "in", ids.slice(0, MAX_LIST))
          .where((where) =>
            where.or([
              where("last_used_at", "is", null),
              where("last_used_at", "<=", now - everyMs),
            ]),
          )
          .execute(),
      );
    },
  };
}

async function createToken(
  trx: Trx,
  token: Parameters<TokenStore["create"]>[0],
  by: Parameters<TokenStore["create"]>[1],
): Promise<"created" | "unknown-tenant"> {
  const tenant = token.tenantId === undefined ? null : toStoredText(token.tenantId);
  if (tenant !== null) {
    const known = await trx
      .selectFrom("tenants")
      .select("id")
      .where("id", "=", tenant)
      .executeTakeFirst();
    const leaving = { tenant_id: tenant, account_id: null, calendar_id: null };
    if (known === undefined || (await findRemoval(trx, leaving))) return "unknown-tenant";
  }
  await trx
    .insertInto("api_tokens")
    .values({
      id: token.id,
      name: toStoredText(token.name),
      tenant_id: tenant,
      scopes: token.scopes.join(" "),
      sha256: token.sha256,
      created_at: by.now,
      created_by: toStoredText(by.actor),
      last_used_at: null,
      revoked_at: null,
    })
    .execute();
  await appendEntry(trx, {
    at: by.now,
    actor: by.actor,
    action: "token.created",
    subject: token.id,
    reason: undefined,
    details: {
      name: token.name,
      tenant: token.tenantId ?? null,
      scopes: token.scopes.join(" "),
    },
  });
  return "created";
}

async function revokeToken(
  trx: Trx,
  id: string,
  by: Parameters<TokenStore["revoke"]>[1],
): Promise<"revoked" | "revoked-before" | "unknown-token"> {
  const row = await trx
    .updateTable("api_tokens")
    .set({ revoked_at: by.now })
    .where("id", "=", id)
    .where("revoked_at", "is", null)
    .returning(["name", "tenant_id"])
    .executeTakeFirst();
  if (row === undefined) {
    const known = await trx
      .selectFrom("api_tokens")
      .select("id")
      .where("id", "=", id)
      .executeTakeFirst();
    return known === undefined ? "unknown-token" : "revoked-before";
  }
  await appendEntry(trx, {
    at: by.now,
    actor: by.actor,
    action: "token.revoked",
    subject: id,
    reason: by.reason,
    details: {
      name: fromStoredText(row.name),
      tenant: row.tenant_id === null ? null : fromStoredText(row.tenant_id),
    },
  });
  return "revoked";
}

function toRow(row: Selectable<ApiTokensTable>): ApiTokenRow {
  return {
    id: row.id,
    name: fromStoredText(row.name),
    tenantId: row.tenant_id === null ? undefined : tenantId(fromStoredText(row.tenant_id)),
    scopes: row.scopes.split(" ").filter((scope) => scope !== ""),
    createdAt: epochMs(row.created_at),
    createdBy: fromStoredText(row.created_by),
    lastUsedAt: momentOf(row.last_used_at),
    revokedAt: momentOf(row.revoked_at),
  };
}

function toStored(row: Selectable<ApiTokensTable>): StoredApiToken {
  return { ...toRow(row), sha256: row.sha256 };
}
