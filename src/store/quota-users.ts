import { createHash } from "node:crypto";
import { sql, type RawBuilder, type Selectable } from "kysely";
import type { AccountConnection, ServiceAccountGrant } from "../core/account-store.ts";
import type { Trx } from "./database.ts";
import { toStoredText } from "./stored-text.ts";
import type { AccountsTable } from "./tables.ts";

/*
 * Google charges a person's account, whichever tenants connected it; two names for it here would be two windows.
 * What it is known by rises: tenant and name → the primary calendar's id, once it is listed → Google's own `sub`.
 * Accounts of one project with one primary calendar share the best that any of them knows.
 */

type QuotaUserColumns = Pick<Selectable<AccountsTable>, "quota_user" | "quota_user_from">;

/** Whom an account is charged to as far as connecting it tells. */
export function quotaUserAtConnect(connection: AccountConnection): QuotaUserColumns {
  const { quotaUser, serviceAccount, tenantId, name } = connection;
  if (quotaUser !== undefined) return { quota_user: quotaUser, quota_user_from: "sub" };
  if (serviceAccount !== undefined) return fromPrimary(primaryOfServiceAccount(serviceAccount));
  return { quota_user: hash(JSON.stringify([tenantId, name])), quota_user_from: "name" };
}

/** A primary calendar has for an id the address of whose it is: the person's, or the service account's own. */
export function primaryOfServiceAccount({ subject, clientEmail }: ServiceAccountGrant): string {
  return primaryHash(subject ?? clientEmail);
}

/** What a reconnect changes: a name of ours never replaces what Google told. */
export function quotaUserAtReconnect(
  connection: AccountConnection,
): Partial<QuotaUserColumns> & { primary_hash?: RawBuilder<string | null> } {
  const known = quotaUserAtConnect(connection);
  if (known.quota_user_from === "name") return {};
  if (known.quota_user_from === "primary") return known;
  // Connected as somebody else: whose primary calendar it was says nothing any more.
  const kept = sql<
    string | null
  >`case when accounts.quota_user = ${known.quota_user} then accounts.primary_hash else null end`;
  return { ...known, primary_hash: kept };
}

/** After a connect: the same Google user under another tenant may be known better, or worse. */
export async function shareQuotaUser(
  trx: Trx,
  account: Selectable<AccountsTable>,
): Promise<Selectable<AccountsTable>> {
  if (account.primary_hash === null) return account;
  const shared = await agree(trx, account, account.primary_hash);
  return { ...account, ...shared };
}

/** From a calendar list: the calendar that is primary names its Google user. */
export async function learnQuotaUser(
  trx: Trx,
  account: Selectable<AccountsTable>,
  primaryId: string | undefined,
): Promise<void> {
  if (primaryId === undefined) return;
  const learnt = primaryHash(primaryId);
  if (learnt !== account.primary_hash) await agree(trx, account, learnt);
}

async function agree(
  trx: Trx,
  account: Selectable<AccountsTable>,
  known: string,
): Promise<QuotaUserColumns> {
  const others = await trx
    .selectFrom("accounts")
    .select(["quota_user", "quota_user_from"])
    .where("project_id", "=", account.project_id)
    .where("primary_hash", "=", known)
    .where("quota_user_from", "=", "sub")
    .where("id", "<>", account.id)
    .orderBy("id")
    .limit(1)
    .execute();
  const [best = fromPrimary(known)] = account.quota_user_from === "sub" ? [account] : others;
  const shared = { quota_user: best.quota_user, quota_user_from: best.quota_user_from };
  await trx
    .updateTable("accounts")
    .set({ ...shared, primary_hash: known })
    .where("id", "=", account.id)
    .execute();
  await trx
    .updateTable("accounts")
    .set(shared)
    .where("project_id", "=", account.project_id)
    .where("primary_hash", "=", known)
    .where("quota_user_from", "<>", "sub")
    .execute();
  return shared;
}

function fromPrimary(known: string): QuotaUserColumns {
  return { quota_user: known, quota_user_from: "primary" };
}

/** Addresses differ by case only in how they are written. */
function primaryHash(googleId: string): string {
  return hash(`primary:${googleId.toLowerCase()}`);
}

/** Google's `quotaUser` holds at most 40 characters. */
function hash(text: string): string {
  return toStoredText(`h${createHash("sha256").update(text).digest("hex").slice(0, 39)}`);
}
