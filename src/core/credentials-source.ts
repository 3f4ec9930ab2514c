import type { AccountId, ProjectId, QuotaUser, TenantId } from "./ids.ts";

/** What proves to Google that we may act for an account. */
export type Grant =
  | { readonly kind: "refresh-token"; readonly refreshToken: string }
  | {
      readonly kind: "service-account";
      readonly clientEmail: string;
      readonly privateKey: string;
      /** The user it acts for (domain-wide delegation); undefined: for itself. */
      readonly subject: string | undefined;
      readonly scopes: readonly string[];
    };

/** An account's grant, and who pays for what is asked with it. */
export interface AccountCredentials {
  readonly projectId: ProjectId;
  readonly tenantId: TenantId;
  readonly quotaUser: QuotaUser;
  /** The account as the budget knows it (`budgetAccount`); undefined: it is asked for under that name already. */
  readonly budgetAccount?: AccountId | undefined;
  readonly grant: Grant;
}

/** Where credentials are kept. They are read when an access token is needed, and never kept in memory. */
export interface CredentialsSource {
  /** Undefined: the account is unknown, or has no credentials any more. */
  read(accountId: AccountId): Promise<AccountCredentials | undefined>;
  /** Google may hand out a new refresh token with any refresh; the old one may then stop working. */
  replaceRefreshToken(accountId: AccountId, refreshToken: string): Promise<void>;
}
