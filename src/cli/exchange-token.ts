import { z } from "zod";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";

/** An OAuth client of the adopter's Google Cloud project, and where tokens are exchanged. */
export interface TokenEndpoint {
  readonly url: string;
  /** Undefined: what is exchanged proves itself, as a service account's assertion does. */
  readonly client: { readonly id: string; readonly secret: string } | undefined;
}

/** What Google gave for a refresh token or an authorization code. */
export interface Grant {
  readonly refreshToken: string | undefined;
  readonly scopes: readonly string[];
  /** Google's number for the account: whom it charges. Undefined without an id token. */
  readonly sub: string | undefined;
}

const TIMEOUT_MS = 15_000;

const answerSchema = z.object({
  access_token: z.string().min(1),
  refresh_token: z.string().optional(),
  scope: z.string().optional(),
  id_token: z.string().optional(),
});
const errorSchema = z.object({ error: z.string(), error_description: z.string().optional() });

/**
 * Ask the token endpoint once, for a person who waits; no retry. It does not pass the budget: a command
 * may run where no Redis is, and this endpoint's requests are not charged to the Calendar API.
 */
export async function exchangeToken(
  endpoint: TokenEndpoint,
  grant: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Grant> {
  const { url, client } = endpoint;
  const body = new URLSearchParams({
    ...grant,
    ...(client === undefined ? {} : { client_id: client.id, client_secret: client.secret }),
  });
  const response = await post(url, body, signal);
  const text = await response.text();
  const answer: unknown = parseJson(text);
  const parsed = answerSchema.safeParse(answer);
  if (response.ok && parsed.success) {
    const { refresh_token: refreshToken, scope, id_token: idToken } = parsed.data;
    return {
      refreshToken,
      scopes: scope?.split(" ").filter((one) => one !== "") ?? [],
      sub: idToken === undefined ? undefined : readSub(idToken),
    };
  }
  throw client === undefined
    ? (explainAssertion(answer) ?? explainRefusal(response.status, answer))
    : explainRefusal(response.status, answer);
}

async function post(url: string, body: URLSearchParams, signal: AbortSignal): Promise<Response> {
  try {
    return await fetch(url, {
      method: "POST",
      body,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(`The token endpoint ${url} does not answer.`, error);
  }
}

/** The same codes mean something else where a service account asked. */
function explainAssertion(answer: unknown): CliError | undefined {
  const { error, error_description: said = "" } = errorSchema.safeParse(answer).data ?? {};
  if (error === "unauthorized_client") {
    return new CliError(
      "Google does not let the service account act for that user (unauthorized_client): domain-wide delegation was not given to it, or not with this scope.",
      {
        exitCode: EXIT.configuration,
        code: "BALLAST_NOT_DELEGATED",
        next: "the Workspace admin adds the service account's client id with the scope: Security, API controls, Domain-wide delegation",
      },
    );
  }
  if (error !== "invalid_grant") return undefined;
  const isClock = /reasonable timeframe|iat and exp|used too early|issued in the future/i.test(
    said,
  );
  return new CliError(
    isClock
      ? "Google does not accept the time in the request (invalid_grant): this machine's clock is off."
      : "Google does not accept the service account's key, or does not know the user (invalid_grant).",
    {
      exitCode: EXIT.configuration,
      code: isClock ? "BALLAST_CLOCK_SKEWED" : "BALLAST_INVALID_GRANT",
      next: isClock
        ? "ballast doctor    (compares the clocks)"
        : "check --subject, and that the key was not deleted in Google's console",
    },
  );
}

function explainRefusal(status: number, answer: unknown): CliError {
  const parsed = errorSchema.safeParse(answer);
  const error = parsed.success ? parsed.data.error : undefined;
  if (error === "invalid_grant") {
    return new CliError(
      "Google does not accept the refresh token or code (invalid_grant): it has expired, was revoked, or belongs to another OAuth client.",
      {
        exitCode: EXIT.configuration,
        code: "BALLAST_INVALID_GRANT",
        next: "ballast connect --tenant T --account A    (without a token: consent in the browser)",
      },
    );
  }
  if (error === "invalid_client" || error === "unauthorized_client") {
    return new CliError(`Google does not accept the OAuth client (${error}).`, {
      exitCode: EXIT.configuration,
      code: "BALLAST_INVALID_CLIENT",
      next: "ballast config print    (shows GOOGLE_CLIENT_ID and where it comes from)",
    });
  }
  if (status >= 500 || error === undefined) {
    return unreachable(
      `The token endpoint answered ${String(status)} and nothing that can be read.`,
      undefined,
    );
  }
  return new CliError(`The token endpoint refused with ${error}.`, {
    exitCode: EXIT.configuration,
    code: "BALLAST_TOKEN_REFUSED",
    next: "ballast doctor",
  });
}

function unreachable(message: string, cause: unknown): CliError {
  return new CliError(message, {
    exitCode: EXIT.dependencyDown,
    code: "BALLAST_TOKEN_ENDPOINT",
    next: "the same again later, or with --no-verify (then the first sync finds out)",
    cause,
  });
}

/** Not verified: it came from the endpoint itself over the connection that we opened. */
function readSub(idToken: string): string | undefined {
  const payload = Buffer.from(idToken.split(".")[1] ?? "", "base64url").toString("utf8");
  const claims = z.object({ sub: z.string().min(1).max(255) }).safeParse(parseJson(payload));
  return claims.data?.sub;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
