import type { AccountStore } from "../core/account-store.ts";
import type { CredentialsSource } from "../core/credentials-source.ts";
import { budgetAccount } from "../core/ids.ts";

/** Opens an account's credentials for whoever needs an access token; of an account that is not connected, none. */
export function createCredentialsSource(
  accounts: Pick<AccountStore, "get" | "readGrant" | "replaceRefreshToken">,
): CredentialsSource {
  return {
    async read(accountId) {
      const account = await accounts.get(accountId);
      // A paused account keeps its credentials: that nothing is asked with them is the pause's affair.
      const isUsable = account?.state === "connected" || account?.state === "paused";
      if (!isUsable) return undefined;
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
