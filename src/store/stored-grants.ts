import { z } from "zod";
import type { AccountConnection } from "../core/account-store.ts";
import type { Grant } from "../core/credentials-source.ts";
import type { Trx } from "./database.ts";
import { toStoredText } from "./stored-text.ts";
import type { AccountsTable } from "./tables.ts";
import type { Vault } from "./vault.ts";

/** The columns that hold an account's credentials. */
export type StoredGrant = Pick<AccountsTable, "grant_sealed" | "grant_key"> & {
  readonly grant_kind: Grant["kind"];
};

const serviceAccountSchema = z.object({
  clientEmail: z.string(),
  privateKey: z.string(),
  subject: z.string().optional(),
  scopes: z.array(z.string()),
});

/** Of whatever kind, a grant is one secret, bound to its account's row. */
export function sealGrant(grant: Grant, accountId: string, vault: Vault): StoredGrant {
  const { kind } = grant;
  const secret =
    grant.kind === "refresh-token"
      ? grant.refreshToken
      : JSON.stringify({ ...grant, kind: undefined });
  const { sealed, keyId } = vault.seal(secret, grantContext(accountId));
  return { grant_kind: kind, grant_sealed: sealed, grant_key: keyId };
}

/** Undefined: it has none. Throws `VaultKeyError` when no key opens it. */
export function openGrant(row: StoredGrant, accountId: string, vault: Vault): Grant | undefined {
  if (row.grant_sealed === null) return undefined;
  const secret = vault.open(row.grant_sealed, grantContext(accountId));
  if (row.grant_kind === "refresh-token") return { kind: row.grant_kind, refreshToken: secret };
  const { subject, ...key } = serviceAccountSchema.parse(JSON.parse(secret));
  return { kind: row.grant_kind, ...key, subject };
}

/** What a connection brings, as a grant. */
export function grantOf(connection: AccountConnection): Grant {
  return connection.serviceAccount === undefined
    ? { kind: "refresh-token", refreshToken: connection.refreshToken }
    : connection.serviceAccount;
}

/** In the caller's transaction. */
export async function storeGrant(trx: Trx, accountId: string, grant: StoredGrant): Promise<void> {
  await trx
    .updateTable("accounts")
    .set(grant)
    .where("id", "=", toStoredText(accountId))
    // A refresh that was on its way must not bring back what a removal has erased.
    .where("connection", "<>", "removed")
    .execute();
}

/** Names the row and column that a seal belongs to. */
export function grantContext(accountId: string): string {
  return `accounts:${accountId}:grant`;
}
