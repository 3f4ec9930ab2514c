/**
 * Ending an account's credentials: revoked at Google, through the same choke point as token refreshes, and taken from
 * where the fleet shares access tokens.
 *
 * State: none.
 */
import type { CredentialsSource } from "../core/credentials-source.ts";
import { CallFailed } from "../core/failure.ts";
import type { Guard } from "../core/request.ts";
import type { ReleaseCredentials } from "../core/release-credentials.ts";
import type { TokenForgetting } from "../core/token-exchange.ts";
import type { AccessTokens } from "./google-auth.ts";

export interface ReleaseCredentialsDeps {
  readonly guard: Guard;
  readonly credentials: CredentialsSource;
  readonly exchange: TokenForgetting;
  readonly tokens: Pick<AccessTokens, "forget">;
}

/**
 * Google's endpoint beside the one for tokens; undefined where the token endpoint is not named as Google's is.
 * https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke
 */
export function revokeUrlOf(tokenUrl: string): string | undefined {
  const url = new URL(tokenUrl);
  if (!url.pathname.endsWith("/token")) return undefined;
  url.pathname = url.pathname.replace(/\/token$/, "/revoke");
  url.search = "";
  return url.href;
}

export function createReleaseCredentials(
  { revokeUrl }: { readonly revokeUrl: string | undefined },
  deps: ReleaseCredentialsDeps,
): ReleaseCredentials {
  const { guard, credentials } = deps;
  return {
    async revoke(accountId, call) {
      const known = await credentials.read(accountId);
      if (known === undefined) return "gone";
      const { grant, budgetAccount, ...payer } = known;
      if (grant.kind === "service-account" || revokeUrl === undefined) return "not-revocable";
      const { consumer, class: requestClass } = call;
      const attribution = {
        ...payer,
        accountId: budgetAccount ?? accountId,
        consumer,
        class: requestClass,
      };
      return guard.call({ ...call, attribution, operation: "oauth.token" }, () =>
        // In the body: addresses are logged on the way.
        sendRevocation(revokeUrl, grant.refreshToken, guard.fetch),
      );
    },
    async forget(accountId) {
      deps.tokens.forget(accountId);
      const known = await credentials.read(accountId);
      if (known !== undefined) await deps.exchange.forget(known.grant);
    },
  };
}

async function sendRevocation(
  url: string,
  token: string,
  send: typeof fetch,
): Promise<"revoked" | "gone"> {
  const response = await send(url, { method: "POST", body: new URLSearchParams({ token }) });
  const text = await response.text();
  if (response.ok) return "revoked";
  // RFC 7009 answers 200 for a token that is not known; Google says 400 `invalid_token`.
  if (response.status === 400 && /"(?:invalid_token|invalid_grant)"/.test(text)) return "gone";
  const { status } = response;
  throw new CallFailed(
    status >= 500
      ? { kind: "upstream-unavailable", retryAfterMs: undefined }
      : { kind: "unrecognised", status, reason: undefined },
    { operation: "oauth.token" },
  );
}
