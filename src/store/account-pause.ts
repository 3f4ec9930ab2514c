import type { Selectable } from "kysely";
import { accountName, budgetAccount, tenantId } from "../core/ids.ts";
import { pauseSettingsPrefix } from "../core/settings-store.ts";
import type { Trx } from "./database.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";
import type { AccountsTable } from "./tables.ts";

type PausedAccount = Pick<
  Selectable<AccountsTable>,
  "project_id" | "tenant_id" | "name" | "paused_reason"
>;

/**
 * I12: an account's row keeps its work from being begun; the setting written here reaches the ledger, and so
 * every request of what runs already, of other processes and of guarded clients.
 */
export async function notePauseForLedger(
  trx: Trx,
  account: PausedAccount,
  now: number,
): Promise<void> {
  const name = settingOf(account);
  if (account.paused_reason === null) {
    await trx.deleteFrom("settings").where("name", "=", name).execute();
    return;
  }
  const row = { value: JSON.stringify({ reason: account.paused_reason }), updated_at: now };
  await trx
    .insertInto("settings")
    .values({ name, ...row })
    .onConflict((conflict) => conflict.column("name").doUpdateSet(row))
    .execute();
}

/** A pause goes with the account that is connected to another project. */
export async function movePauseOfLedger(
  trx: Trx,
  moved: { readonly from: PausedAccount; readonly to: PausedAccount },
  now: number,
): Promise<void> {
  if (moved.from.project_id === moved.to.project_id) return;
  await notePauseForLedger(trx, { ...moved.from, paused_reason: null }, now);
  await notePauseForLedger(trx, moved.to, now);
}

function settingOf(account: PausedAccount): string {
  const { project_id: project, tenant_id: tenant, name } = account;
  const target = budgetAccount(tenantId(fromStoredText(tenant)), accountName(fromStoredText(name)));
  return toStoredText(`${pauseSettingsPrefix(fromStoredText(project))}account:${target}`);
}
