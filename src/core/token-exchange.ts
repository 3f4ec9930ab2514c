import type { EpochMs } from "./clock.ts";
import type { AccountId } from "./ids.ts";

/** An access token that one process got for all. */
export interface SharedToken {
  readonly accessToken: string;
  /** What it was issued for: an account that was connected anew has no use for it. */
  readonly grantId: string;
  readonly expiresAt: EpochMs;
  /** How long it lived when it was issued. */
  readonly lifetimeMs: number;
}

/** The right to refresh one account's token, alone in the fleet, for a while. */
export interface TokenClaim {
  /** Hand the token to all, and end the claim. */
  publish(token: SharedToken): Promise<void>;
  /** End the claim without a token. */
  release(): Promise<void>;
}

/**
 * Where the processes of a fleet share access tokens, so that an account's token is refreshed once for
 * all of them. It may lose everything at any time: then a token is refreshed once more.
 */
export interface TokenExchange {
  read(accountId: AccountId): Promise<SharedToken | undefined>;
  claim(
    accountId: AccountId,
    forMs: number,
  ): Promise<{ readonly kind: "claimed"; readonly claim: TokenClaim } | { readonly kind: "taken" }>;
}
