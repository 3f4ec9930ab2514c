import type { AccountState } from "../core/account-store.ts";
import type { AccountChange } from "../core/change-store.ts";
import type { Database, Trx } from "./database.ts";
import { noteChanges, type NotedChange } from "./note-changes.ts";
import type { AccountsTable } from "./tables.ts";

/** The columns that an account's state is told from. */
type AccountStanding = Pick<
  AccountsTable,
  "id" | "tenant_id" | "connection" | "connection_reason" | "paused_reason"
>;

/** Its connection, behind an operator's pause (I12). */
export function stateOfAccount(
  row: Pick<AccountsTable, "connection" | "paused_reason">,
): AccountState {
  if (row.connection === "removed") return "removed";
  return row.paused_reason === null ? row.connection : "paused";
}

/** What became of an account, as a row of the feed. */
export function accountChange(
  account: AccountStanding,
  { kind, at }: { readonly kind: AccountChange["kind"]; readonly at: number },
): NotedChange {
  const reasons = {
    "account-connected": null,
    "account-needs-reconnect": account.connection_reason,
    "account-paused": account.paused_reason,
    "account-resumed": null,
    "account-removed": null,
  } as const;
  return {
    tenantId: account.tenant_id,
    accountId: account.id,
    calendarId: null,
    eventKey: null,
    kind,
    generation: 0,
    at,
    account: { state: stateOfAccount(account), reason: reasons[kind] },
  };
}

/** Tell the feed what became of an account: the last statement of its transaction. */
export function noteAccount(
  { database, trx }: { readonly database: Database; readonly trx: Trx },
  account: AccountStanding,
  change: { readonly kind: AccountChange["kind"]; readonly at: number },
): Promise<void> {
  return noteChanges(database, trx, [accountChange(account, change)]);
}
