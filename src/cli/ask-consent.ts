/**
 * Google's consent in the browser, by the loopback redirect of RFC 8252 with PKCE (RFC 7636).
 *
 * States: listening on a free port → a redirect with our `state` came (code or error) | time up | interrupted
 * → closed. A request with another `state` is refused and changes nothing: any page can open our address.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { CliError } from "./cli-error.ts";
import { exchangeToken, type Grant, type TokenEndpoint } from "./exchange-token.ts";
import { EXIT } from "./exit-codes.ts";

/** What is asked of the person, and of whom. */
export interface ConsentRequest {
  readonly authUrl: string;
  readonly endpoint: TokenEndpoint;
  readonly clientId: string;
  readonly scopes: readonly string[];
  /** Preselects the account where it is an address. */
  readonly loginHint: string | undefined;
  readonly timeoutMs: number;
}

/** How the person is sent to the page, and what ends the waiting. */
export interface ConsentDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly showAddress: (url: string) => void;
}

/** Wait for the person's answer and exchange it; always closes its server. */
export async function askConsent(request: ConsentRequest, deps: ConsentDeps): Promise<Grant> {
  const state = randomBytes(32).toString("base64url");
  const verifier = randomBytes(48).toString("base64url");
  const answer = Promise.withResolvers<string>();
  const server = createServer((incoming, response) => {
    const query = new URL(incoming.url ?? "/", "http://127.0.0.1").searchParams;
    if (incoming.method !== "GET" || !isEqual(query.get("state") ?? "", state)) {
      respond(response, 400, "This is not the answer that was waited for.");
      return;
    }
    const code = query.get("code");
    if (code !== null) {
      respond(response, 200, "Done. You can close this window and go back to the terminal.");
      answer.resolve(code);
      return;
    }
    respond(response, 200, "No access was given. You can close this window.");
    answer.reject(refused(query.get("error") ?? "no code"));
  });
  const redirectUri = await listen(server);
  const ended = new AbortController();
  try {
    deps.showAddress(consentAddress(request, { redirectUri, state, verifier }));
    const code = await Promise.race([
      answer.promise,
      giveUp(request.timeoutMs, deps, ended.signal),
    ]);
    return await exchangeToken(
      request.endpoint,
      {
        grant_type: "authorization_code",
        code,
        redirect_uri: redirectUri,
        code_verifier: verifier,
      },
      deps.signal,
    );
  } finally {
    ended.abort(new Error("The waiting has ended"));
    await close(server);
  }
}

function consentAddress(
  request: ConsentRequest,
  own: { readonly redirectUri: string; readonly state: string; readonly verifier: string },
): string {
  const url = new URL(request.authUrl);
  const query = {
    client_id: request.clientId,
    redirect_uri: own.redirectUri,
    response_type: "code",
    scope: request.scopes.join(" "),
    // Offline: a refresh token; consent: also when access was given before, or Google sends none.
    access_type: "offline",
    prompt: "consent",
    state: own.state,
    code_challenge: createHash("sha256").update(own.verifier).digest("base64url"),
    code_challenge_method: "S256",
    ...(request.loginHint === undefined ? {} : { login_hint: request.loginHint }),
  };
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url.href;
}

async function giveUp(timeoutMs: number, deps: ConsentDeps, ended: AbortSignal): Promise<never> {
  try {
    await deps.clock.sleep(timeoutMs, AbortSignal.any([deps.signal, ended]));
  } catch (error) {
    // Ended: somebody else has won the race, and this rejection is not seen.
    deps.signal.throwIfAborted();
    throw error;
  }
  throw new CliError(`No answer from the browser within ${String(timeoutMs / 1_000)} s.`, {
    exitCode: EXIT.failure,
    code: "BALLAST_CONSENT_TIMEOUT",
    next: "the same again, with a longer --timeout",
  });
}

function refused(error: string): CliError {
  return new CliError(`Access was not given (${error.slice(0, 100)}).`, {
    exitCode: EXIT.configuration,
    code: "BALLAST_CONSENT_REFUSED",
    next: "the same again, and allow it on the page",
  });
}

function listen(server: Server): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address !== null && typeof address === "object") {
        resolve(`http://127.0.0.1:${String(address.port)}/`);
      } else {
        reject(new Error("The loopback server has no address"));
      }
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    // What was answered has been sent; a browser would keep its connections open.
    setImmediate(() => server.closeAllConnections());
  });
}

function respond(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'",
    "cache-control": "no-store",
    connection: "close",
  });
  response.end(`<!doctype html><title>Ballast</title><p>${text}</p>\n`);
}

function isEqual(given: string, expected: string): boolean {
  const left = Buffer.from(given);
  const right = Buffer.from(expected);
  return left.length === right.length && timingSafeEqual(left, right);
}
