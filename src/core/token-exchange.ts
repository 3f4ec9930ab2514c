import type { EpochMs } from "./clock.ts";
import type { Grant } from "./credentials-source.ts";

/** An access token that one process got for all. */
export interface SharedToken {
  readonly accessToken: string;
  /** The grant that its account has from then on: Google may have handed out a new one with it. */
  readonly grantId: string;
  readonly expiresAt: EpochMs;
  /** How long it lived when it was issued. */
  readonly lifetimeMs: number;
}

/** The right to refresh one grant's token, alone in the fleet, for a while. */
export interface TokenClaim {
  /** Hand the token to all who hold the grant, or the one that Google put in its place, and end the claim. */
  publish(token: SharedToken, newGrant: Grant | undefined): Promise<void>;
  /** End the claim without a token. */
  release(): Promise<void>;
}

/**
 * Where the processes of a fleet share access tokens, so that an account's token is refreshed once for
 * all of them. Who holds the grant finds its token, whatever name he knows the account by. It may lose
 * everything at any time: then a token is refreshed once more.
 */
export interface TokenExchange {
  read(grant: Grant): Promise<SharedToken | undefined>;
  claim(
    grant: Grant,
    forMs: number,
  ): Promise<{ readonly kind: "claimed"; readonly claim: TokenClaim } | { readonly kind: "taken" }>;
}

/** Where tokens can be taken from before they end. */
export interface TokenForgetting {
  /** Its grant is being erased: nobody is to find a token of it any more. */
  forget(grant: Grant): Promise<void>;
}
