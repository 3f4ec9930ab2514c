import type { Clock } from "../../../src/core/clock.ts";
import type { AccountCredentials, Grant } from "../../../src/core/credentials-source.ts";
import type { Attribution, Guard } from "../../../src/core/request.ts";
import type { TokenExchange } from "../../../src/core/token-exchange.ts";
import { createAccessTokens, type AccessTokens } from "../../../src/google/google-auth.ts";
import type { ClientCredentials, GuardedAccountOptions } from "./account-options.ts";
import { guardAuth } from "./guard-auth.ts";

/** Where an account's access tokens come from; `release` gives back what is the adopter's. */
export interface AccountTokens extends AccessTokens {
  release(): void;
}

const EAGER_REFRESH_MS = 5 * 60_000;

/** Tokens from the credentials or the auth object of an account's options. */
export function createAccountTokens(
  options: GuardedAccountOptions,
  attribution: Omit<Attribution, "class">,
  deps: {
    readonly guard: Guard;
    readonly clock: Clock;
    readonly google: { readonly tokenUrl: string };
    readonly deadlineMs: number;
    /** Where the fleet shares access tokens. */
    readonly exchange: TokenExchange;
  },
): AccountTokens {
  const { auth, credentials } = options;
  if (auth !== undefined) {
    const usualCall = { class: options.class, deadlineMs: deps.deadlineMs };
    const { tokenUrl } = deps.google;
    return guardAuth(auth, { attribution, usualCall, tokenUrl }, deps);
  }
  if (credentials === undefined) throw new TypeError("Give the account credentials or auth");
  return { ...ownTokens(credentials, attribution, deps), release: () => undefined };
}

function ownTokens(
  credentials: ClientCredentials,
  attribution: Omit<Attribution, "class">,
  deps: Parameters<typeof createAccountTokens>[2],
): AccessTokens {
  const { projectId, tenantId, quotaUser } = attribution;
  let grant = grantOf(credentials);
  const hasClient = "clientId" in credentials;
  return createAccessTokens(
    {
      tokenUrl: deps.google.tokenUrl,
      eagerRefreshMs: EAGER_REFRESH_MS,
      maxAccounts: 1,
      oauthClientOf: () => ({
        clientId: hasClient ? credentials.clientId : "",
        clientSecret: hasClient ? credentials.clientSecret : "",
      }),
    },
    {
      guard: deps.guard,
      clock: deps.clock,
      exchange: deps.exchange,
      credentials: {
        read: () => Promise.resolve<AccountCredentials>({ projectId, tenantId, quotaUser, grant }),
        replaceRefreshToken: (_accountId, refreshToken) => {
          grant = { kind: "refresh-token", refreshToken };
          if (hasClient) credentials.onNewRefreshToken?.(refreshToken);
          return Promise.resolve();
        },
      },
    },
  );
}

function grantOf(credentials: ClientCredentials): Grant {
  if ("clientId" in credentials) {
    return { kind: "refresh-token", refreshToken: credentials.refreshToken };
  }
  const { clientEmail, privateKey, subject, scopes } = credentials;
  return { kind: "service-account", clientEmail, privateKey, subject, scopes };
}
