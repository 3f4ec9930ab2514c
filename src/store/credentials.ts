import type { AccountState, AccountStore } from "../core/account-store.ts";
import type { CredentialsSource } from "../core/credentials-source.ts";
import { budgetAccount } from "../core/ids.ts";

type Accounts = Pick<AccountStore, "get" | "readGrant" | "replaceRefreshToken">;

/** Opens an account's credentials for whoever needs an access token; of an account that is not connected, none. */
export function createCredentialsSource(accounts: Accounts): CredentialsSource {
  // A paused account keeps its credentials: that nothing is asked with them is the pause's affair.
  return sourceOf(accounts, ["connected", "paused"]);
}

/** As above, of accounts that are being removed, too: their channels are stopped and their tokens revoked with them. */
export function createLeavingCredentials(accounts: Accounts): CredentialsSource {
  return sourceOf(accounts, ["connected", "paused", "removed"]);
}

function sourceOf(accounts: Accounts, usable: readonly AccountState[]): CredentialsSource {
  return {
    async read(accountId) {
      const account = await accounts.get(accountId);
      if (account === undefined || !usable.includes(account.state)) return undefined;
      const grant = await accounts.readGrant(accountId);
      if (grant === undefined) return undefined;
      const { projectId, tenantId, quotaUser, name } = account;
      return {
        projectId,
        tenantId,
        quotaUser,
        budgetAccount: budgetAccount(tenantId, name),
        grant,
      };
    },
    replaceRefreshToken: (accountId, refreshToken) =>
      accounts.replaceRefreshToken(accountId, refreshToken),
  };
}
