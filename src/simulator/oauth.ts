import { createHash, createHmac } from "node:crypto";
import type { AccessTokens } from "./access-tokens.ts";
import type { ConsentCodes } from "./consent.ts";
import { oauthError, oauthJson } from "./oauth-answer.ts";
import type { OAuthAnswer } from "./oauth-answer.ts";
import { readServiceAccountGrant } from "./service-account.ts";
import type { Account, World } from "./world.ts";

/** One OAuth client. */
export interface OAuthClient {
  readonly id: string;
  readonly secret: string;
  /** The Google Cloud project it belongs to: whose quota its requests count against. */
  readonly project: string;
}

/** A service account with domain-wide delegation. */
export interface ServiceAccount {
  readonly email: string;
  /** The public half of its key, PEM. */
  readonly publicKey: string;
  readonly project: string;
}

/** Who may ask for tokens. */
export interface OAuthSettings {
  /** Undefined: any client, all of one project. */
  readonly clients: readonly OAuthClient[] | undefined;
  readonly serviceAccounts: readonly ServiceAccount[];
  readonly project: string;
}

/** What the token endpoint works with. */
export interface OAuthDeps {
  readonly world: World;
  readonly tokens: AccessTokens;
  readonly codes: ConsentCodes;
}

/** Create the handler of `POST /token`: refresh tokens, authorization codes, service accounts. */
export function createTokenEndpoint(
  settings: OAuthSettings,
  deps: OAuthDeps,
): (form: URLSearchParams) => OAuthAnswer {
  return (form) => {
    const grant = form.get("grant_type");
    if (grant === "urn:ietf:params:oauth:grant-type:jwt-bearer") {
      return grantServiceAccount(form, settings, deps);
    }
    const client = clientOf(form, settings);
    if (!client) {
      return oauthError("invalid_client", "The OAuth client was not found.", { status: 401 });
    }
    if (grant === "refresh_token") return grantRefresh(form, client, deps);
    if (grant === "authorization_code") return grantCode(form, client, deps);
    return oauthError("unsupported_grant_type", `Invalid grant_type: ${grant ?? ""}`);
  };
}

/** Create the handler of `POST /revoke`: a refresh token, or an access token, ends its account's whole consent. */
export function createRevokeEndpoint(deps: OAuthDeps): (form: URLSearchParams) => OAuthAnswer {
  const { world, tokens } = deps;
  return (form) => {
    const token = form.get("token") ?? "";
    const email = world.refreshTokens.get(token);
    const account =
      email === undefined ? tokens.check(token, world.nowMs())?.account : world.accounts.get(email);
    if (!account || account.isRevoked) {
      return oauthError("invalid_token", "Token expired or revoked");
    }
    account.isRevoked = true;
    return oauthJson(200, {}, account.email);
  };
}

function clientOf(form: URLSearchParams, settings: OAuthSettings): OAuthClient | undefined {
  const id = form.get("client_id") ?? "";
  const secret = form.get("client_secret") ?? "";
  if (!settings.clients) return id === "" ? undefined : { id, secret, project: settings.project };
  return settings.clients.find((client) => client.id === id && client.secret === secret);
}

function grantRefresh(form: URLSearchParams, client: OAuthClient, deps: OAuthDeps): OAuthAnswer {
  const email = deps.world.refreshTokens.get(form.get("refresh_token") ?? "");
  const account = email === undefined ? undefined : deps.world.accounts.get(email);
  if (!account) return oauthError("invalid_grant", "Bad Request");
  if (account.isRevoked) {
    const of = { account: account.email };
    return oauthError("invalid_grant", "Token has been expired or revoked.", of);
  }
  return oauthJson(200, tokenResponse(account, client, deps), account.email);
}

function grantCode(form: URLSearchParams, client: OAuthClient, deps: OAuthDeps): OAuthAnswer {
  const code = deps.codes.take(form.get("code") ?? "");
  const account = code && deps.world.accounts.get(code.email);
  if (!account) return oauthError("invalid_grant", "Malformed auth code.");
  if (code.clientId !== client.id || code.redirectUri !== form.get("redirect_uri")) {
    return oauthError("redirect_uri_mismatch", "Bad Request", { account: account.email });
  }
  if (!provesPossession(form.get("code_verifier"), code)) {
    return oauthError("invalid_grant", "Invalid code verifier.", { account: account.email });
  }
  account.isRevoked = false;
  const body = { ...tokenResponse(account, client, deps), refresh_token: code.refreshToken };
  deps.world.refreshTokens.set(code.refreshToken, account.email);
  return oauthJson(200, body, account.email);
}

function provesPossession(
  verifier: string | null,
  code: { readonly challenge: string | undefined; readonly challengeMethod: string | undefined },
): boolean {
  if (code.challenge === undefined) return true;
  if (verifier === null) return false;
  const isHashed = code.challengeMethod === "S256";
  const proof = isHashed ? createHash("sha256").update(verifier).digest("base64url") : verifier;
  return proof === code.challenge;
}

function tokenResponse(
  account: Account,
  client: Pick<OAuthClient, "id" | "secret" | "project">,
  { tokens, world }: OAuthDeps,
): Record<string, unknown> {
  const { accessToken, expiresInSeconds } = tokens.issue({
    account,
    project: client.project,
    chargedUser: account.sub,
  });
  const nowSeconds = Math.floor(world.nowMs() / 1000);
  return {
    access_token: accessToken,
    expires_in: expiresInSeconds,
    scope: "https://www.googleapis.com/auth/calendar openid",
    token_type: "Bearer",
    id_token: writeIdToken(client, {
      iss: "https://accounts.google.com",
      aud: client.id,
      sub: account.sub,
      email: account.email,
      email_verified: true,
      iat: nowSeconds,
      exp: nowSeconds + expiresInSeconds,
    }),
  };
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

/** Google signs with its own keys; here the client's secret signs, which OpenID Connect allows, too. */
function writeIdToken(client: Pick<OAuthClient, "secret">, claims: object): string {
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${text}.${createHmac("sha256", client.secret).update(text).digest("base64url")}`;
}

function grantServiceAccount(
  form: URLSearchParams,
  settings: OAuthSettings,
  { world, tokens }: OAuthDeps,
): OAuthAnswer {
  const grant = readServiceAccountGrant(form.get("assertion") ?? "", {
    serviceAccounts: settings.serviceAccounts,
    nowMs: world.nowMs(),
  });
  if (grant.kind === "refused") return oauthError(grant.error, grant.description);
  const account = world.accounts.get(grant.subject);
  if (!account) {
    const description =
      "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.";
    return oauthError("unauthorized_client", description, { status: 401 });
  }
  const { accessToken, expiresInSeconds } = tokens.issue({
    account,
    project: grant.serviceAccount.project,
    chargedUser: grant.serviceAccount.email,
  });
  return oauthJson(
    200,
    { access_token: accessToken, expires_in: expiresInSeconds, token_type: "Bearer" },
    account.email,
  );
}
