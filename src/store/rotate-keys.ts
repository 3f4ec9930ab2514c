import { sql } from "kysely";
import { accountId, type AccountId } from "../core/ids.ts";
import type { KeyRotation } from "../core/key-rotation.ts";
import type { Database } from "./database.ts";
import { grantContext } from "./stored-grants.ts";
import { VaultKeyError, type SealedSecret, type Vault } from "./vault.ts";

/** Key rotation over the accounts' credentials, which are all that is sealed in the database. */
export function createKeyRotation({
  database,
  vault,
}: {
  readonly database: Database;
  readonly vault: Vault;
}): KeyRotation {
  return {
    currentKeyId: () => vault.currentKeyId,
    async usage() {
      const rows = await database.read((db) =>
        db
          .selectFrom("accounts")
          .select(["grant_key", sql<number>`count(*)`.as("secrets")])
          .where("grant_key", "is not", null)
          .groupBy("grant_key")
          .orderBy("grant_key")
          .execute(),
      );
      return rows.flatMap(({ grant_key: keyId, secrets }) =>
        keyId === null ? [] : [{ keyId, secrets, isKnown: vault.knows(keyId) }],
      );
    },
    async rotateSome({ after, limit }) {
      const found = await database.read((db) =>
        db
          .selectFrom("accounts")
          .select(["id", "grant_sealed"])
          .where("grant_key", "is not", null)
          .where("grant_key", "<>", vault.currentKeyId)
          .$if(after !== undefined, (query) => query.where("id", ">", after ?? ""))
          .orderBy("id")
          .limit(limit)
          .execute(),
      );
      const unopened: AccountId[] = [];
      const changes: Change[] = [];
      for (const { id, grant_sealed: was } of found) {
        const is = was === null ? undefined : resealed(vault, id, was);
        if (is === "unopened") unopened.push(accountId(id));
        else if (was !== null && is !== undefined) changes.push({ id, was, is });
      }
      const rotated = await exchange(database, changes);
      const last = found.length < limit ? undefined : found.at(-1)?.id;
      return { rotated, unopened, next: last === undefined ? undefined : accountId(last) };
    },
  };
}

interface Change {
  readonly id: string;
  readonly was: string;
  readonly is: SealedSecret;
}

function resealed(vault: Vault, id: string, was: string): SealedSecret | "unopened" | undefined {
  try {
    return vault.reseal(was, grantContext(id));
  } catch (error) {
    if (error instanceof VaultKeyError) return "unopened";
    throw error;
  }
}

/** A secret that a worker has replaced meanwhile is newer than what was read: it is left alone. */
function exchange(database: Database, changes: readonly Change[]): Promise<number> {
  if (changes.length === 0) return Promise.resolve(0);
  return database.write(async (trx) => {
    let exchanged = 0;
    for (const { id, was, is } of changes) {
      const row = await trx
        .updateTable("accounts")
        .set({ grant_sealed: is.sealed, grant_key: is.keyId })
        .where("id", "=", id)
        .where("grant_sealed", "=", was)
        .returning("id")
        .executeTakeFirst();
      if (row !== undefined) exchanged += 1;
    }
    return exchanged;
  });
}
