import { JWT, OAuth2Client, type Credentials } from "google-auth-library";
import type { Grant } from "../core/credentials-source.ts";
import { CallFailed } from "../core/failure.ts";
import { SEND_ONCE, WITHOUT_LOGGING } from "./google-client.ts";

export interface TokenRequestOptions {
  readonly tokenUrl: string;
}

/** The OAuth client of a project. */
export interface OAuthClient {
  readonly clientId: string;
  readonly clientSecret: string;
}

/** What one token request brought. */
export interface IssuedToken {
  readonly accessToken: string;
  readonly lifetimeMs: number;
  /** Google sent a new refresh token along. */
  readonly newRefreshToken: string | undefined;
}

/** Where google-auth-library sends a service account's assertion, whatever it is told. */
const LIBRARY_TOKEN_URL = "https://oauth2.googleapis.com/token";

/** RFC 6749 lets a server leave `expires_in` out; Google's tokens live an hour. */
const USUAL_LIFETIME_MS = 3_600_000;

/** One token request through the choke point, sent once. Throws what the client library throws. */
export async function requestToken(
  grant: Grant,
  client: OAuthClient,
  via: TokenRequestOptions & { readonly fetch: typeof fetch },
): Promise<IssuedToken> {
  const checked = { tokenUrl: via.tokenUrl, fetch: checkTokens(via.fetch) };
  const credentials =
    grant.kind === "refresh-token"
      ? await refresh(grant.refreshToken, client, checked)
      : await assert(grant, checked);
  const { access_token: accessToken, expiry_date: expiryDate, refresh_token: issued } = credentials;
  if (typeof accessToken !== "string") throw malformed("the token answer holds no access token");
  // The library made a date of Google's `expires_in` by the machine's clock: the same clock takes it back.
  const lifetimeMs =
    typeof expiryDate === "number" && Number.isFinite(expiryDate)
      ? expiryDate - Date.now()
      : USUAL_LIFETIME_MS;
  const isNew = grant.kind === "refresh-token" && typeof issued === "string" && issued !== "";
  return {
    accessToken,
    lifetimeMs,
    newRefreshToken: isNew && issued !== grant.refreshToken ? issued : undefined,
  };
}

/**
 * Lets only a token answer through to the library: on anything else under 200 it fails with a TypeError
 * whose message quotes the body, and half a body may hold a whole token.
 */
function checkTokens(send: typeof fetch): typeof fetch {
  return async (input, init) => {
    const response = await send(input, init);
    if (!response.ok) return response;
    const text = await response.text();
    if (!holdsAccessToken(text)) throw malformed("the token answer holds no access token");
    return new Response(text, {
      status: response.status,
      headers: { "content-type": "application/json" },
    });
  };
}

function holdsAccessToken(text: string): boolean {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body !== "object" || body === null || !("access_token" in body)) return false;
    return typeof body.access_token === "string" && body.access_token !== "";
  } catch {
    return false;
  }
}

function malformed(detail: string): CallFailed {
  return new CallFailed({ kind: "malformed-response", detail }, { operation: "oauth.token" });
}

async function refresh(
  refreshToken: string,
  client: OAuthClient,
  { fetch, tokenUrl }: TokenRequestOptions & { readonly fetch: typeof globalThis.fetch },
): Promise<Credentials> {
  const auth = new OAuth2Client({
    ...client,
    ...WITHOUT_LOGGING,
    endpoints: { oauth2TokenUrl: tokenUrl },
    transporterOptions: { fetchImplementation: fetch, ...SEND_ONCE },
    credentials: { refresh_token: refreshToken },
  });
  // The library puts the old refresh token over a new one; only this event shows what Google sent.
  let issued: string | null | undefined;
  auth.on("tokens", (tokens) => {
    issued = tokens.refresh_token;
  });
  const { credentials } = await auth.refreshAccessToken();
  return { ...credentials, refresh_token: issued ?? null };
}

/** Google tolerates minutes; a clock that is off by less is no reason to be refused. */
const SKEW_TOLD_FROM_MS = 60_000;

/**
 * `invalid_grant` may mean that our clock is off, and Google's text need not say so: then the time in its answer
 * does. Only for assertions, which carry our time; a refresh token that is refused is refused.
 */
function compareClocks(send: typeof fetch): typeof fetch {
  return async (input, init) => {
    const response = await send(input, init);
    const theirs = Date.parse(response.headers.get("date") ?? "");
    if (response.status !== 400 || Number.isNaN(theirs)) return response;
    // Their header has whole seconds: it is half a second behind on average.
    const skewMs = Date.now() - (theirs + 500);
    if (
      Math.abs(skewMs) < SKEW_TOLD_FROM_MS ||
      !/invalid_grant/.test(await response.clone().text())
    )
      return response;
    throw new CallFailed({ kind: "clock-skewed", skewMs }, { operation: "oauth.token" });
  };
}

async function assert(
  grant: Extract<Grant, { kind: "service-account" }>,
  via: TokenRequestOptions & { readonly fetch: typeof globalThis.fetch },
): Promise<Credentials> {
  const { tokenUrl } = via;
  const fetch = compareClocks(via.fetch);
  const auth = new JWT({
    ...WITHOUT_LOGGING,
    email: grant.clientEmail,
    key: grant.privateKey,
    scopes: [...grant.scopes],
    ...(grant.subject === undefined ? {} : { subject: grant.subject }),
    transporterOptions: {
      fetchImplementation: (input, init) =>
        fetch(isLibraryTokenUrl(input) ? tokenUrl : input, init),
      ...SEND_ONCE,
    },
  });
  return auth.authorize();
}

function isLibraryTokenUrl(input: string | URL | Request): boolean {
  const url = input instanceof Request ? input.url : input;
  return String(url) === LIBRARY_TOKEN_URL;
}
