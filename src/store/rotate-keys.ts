import { sql } from "kysely";
import { accountId, tenantId } from "../core/ids.ts";
import type { KeyRotation } from "../core/key-rotation.ts";
import type { Database, Reader } from "./database.ts";
import { grantContext } from "./stored-grants.ts";
import { fromStoredText } from "./stored-text.ts";
import { VaultKeyError, type SealedSecret, type Vault } from "./vault.ts";
import { webhookContext } from "./webhooks.ts";

/** Columns that hold sealed secrets: all that are sealed in the database are named here. */
interface Source {
  readonly table: "accounts" | "webhooks";
  readonly id: string;
  readonly sealed: string;
  readonly key: string;
  readonly contextOf: (id: string) => string;
}

const GRANTS: Source = {
  table: "accounts",
  id: "id",
  sealed: "grant_sealed",
  key: "grant_key",
  contextOf: grantContext,
};
const WEBHOOKS: Source = {
  table: "webhooks",
  id: "tenant_id",
  sealed: "secret_sealed",
  key: "secret_key",
  contextOf: webhookContext,
};

interface RotationDeps {
  readonly database: Database;
  readonly vault: Vault;
}

/** Key rotation over the accounts' credentials and the webhooks' secrets. */
export function createKeyRotation(deps: RotationDeps): KeyRotation {
  const { database, vault } = deps;
  return {
    currentKeyId: () => vault.currentKeyId,
    async usage() {
      const { rows } = await database.read((db) =>
        sql<{ key_id: string; secrets: number }>`
          select key_id, count(*) as secrets from (
            select grant_key as key_id from accounts where grant_key is not null
            union all select secret_key from webhooks) as sealed
          group by key_id order by key_id`.execute(db),
      );
      return rows.map(({ key_id: keyId, secrets }) => ({
        keyId,
        secrets,
        isKnown: vault.knows(keyId),
      }));
    },
    async rotateSome({ after, limit }) {
      const grants = await rotatePortion(deps, GRANTS, { after, limit });
      const unopened = grants.unopened.map((id) => String(accountId(id)));
      if (grants.next !== undefined) {
        return { rotated: grants.rotated, unopened, next: accountId(grants.next) };
      }
      // After the last account: at most one a tenant.
      let { rotated } = grants;
      let tenant: string | undefined;
      do {
        const portion = await rotatePortion(deps, WEBHOOKS, { after: tenant, limit });
        rotated += portion.rotated;
        unopened.push(
          ...portion.unopened.map((id) => `the webhook of ${tenantId(fromStoredText(id))}`),
        );
        tenant = portion.next;
      } while (tenant !== undefined);
      return { rotated, unopened, next: undefined };
    },
  };
}

interface Change {
  readonly id: string;
  readonly was: string;
  readonly is: SealedSecret;
}

async function rotatePortion(
  { database, vault }: RotationDeps,
  source: Source,
  portion: { readonly after: string | undefined; readonly limit: number },
): Promise<{
  readonly rotated: number;
  readonly unopened: readonly string[];
  readonly next: string | undefined;
}> {
  const current = vault.currentKeyId;
  const found = await database.read((db) => findOld(db, source, { ...portion, current }));
  const unopened: string[] = [];
  const changes: Change[] = [];
  for (const { id, sealed: was } of found) {
    const is = resealed(vault, was, source.contextOf(id));
    if (is === "unopened") unopened.push(id);
    else if (is !== undefined) changes.push({ id, was, is });
  }
  const rotated = await exchange(database, source, changes);
  return { rotated, unopened, next: found.length < portion.limit ? undefined : found.at(-1)?.id };
}

async function findOld(
  db: Reader,
  source: Source,
  portion: {
    readonly after: string | undefined;
    readonly limit: number;
    readonly current: string;
  },
): Promise<readonly { readonly id: string; readonly sealed: string }[]> {
  const id = sql.ref(source.id);
  const { rows } = await sql<{ id: string; sealed: string }>`
    select ${id} as id, ${sql.ref(source.sealed)} as sealed from ${sql.table(source.table)}
    where ${sql.ref(source.key)} is not null and ${sql.ref(source.key)} <> ${portion.current}
      and ${id} > ${portion.after ?? ""}
    order by ${id} limit ${portion.limit}`.execute(db);
  return rows;
}

function resealed(
  vault: Vault,
  was: string,
  context: string,
): SealedSecret | "unopened" | undefined {
  try {
    return vault.reseal(was, context);
  } catch (error) {
    if (error instanceof VaultKeyError) return "unopened";
    throw error;
  }
}

/** A secret that was replaced meanwhile is newer than what was read: it is left alone. */
function exchange(database: Database, source: Source, changes: readonly Change[]): Promise<number> {
  if (changes.length === 0) return Promise.resolve(0);
  const sealed = sql.ref(source.sealed);
  return database.write(async (trx) => {
    let exchanged = 0;
    for (const { id, was, is } of changes) {
      const { rows } = await sql`
        update ${sql.table(source.table)}
        set ${sealed} = ${is.sealed}, ${sql.ref(source.key)} = ${is.keyId}
        where ${sql.ref(source.id)} = ${id} and ${sealed} = ${was}
        returning ${sql.ref(source.id)}`.execute(trx);
      exchanged += rows.length;
    }
    return exchanged;
  });
}
