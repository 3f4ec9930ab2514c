import { randomBytes } from "node:crypto";
import { oauthError } from "./oauth-answer.ts";
import type { OAuthAnswer } from "./oauth-answer.ts";
import type { World } from "./world.ts";

/** What an authorization code stands for until it is exchanged. */
export interface ConsentCode {
  readonly email: string;
  readonly clientId: string;
  readonly redirectUri: string;
  readonly challenge: string | undefined;
  readonly challengeMethod: string | undefined;
  readonly refreshToken: string;
}

/** Authorization codes given and not yet exchanged. */
export interface ConsentCodes {
  /** A code works once. */
  take(code: string): ConsentCode | undefined;
  /** `GET /o/oauth2/v2/auth`: the page that asks, or (with an account chosen) the way back to the client. */
  answer(query: URLSearchParams): OAuthAnswer;
}

const MAX_PENDING = 1000;

/** Create the consent page. State: codes not yet exchanged, at most a thousand. */
export function createConsent(deps: { readonly world: World }): ConsentCodes {
  const codes = new Map<string, ConsentCode>();
  return {
    take(code) {
      const consent = codes.get(code);
      codes.delete(code);
      return consent;
    },
    answer(query) {
      const redirect = readRedirect(query.get("redirect_uri"));
      if (!redirect || query.get("response_type") !== "code") {
        return oauthError(
          "invalid_request",
          "A loopback redirect_uri and response_type=code are required.",
        );
      }
      const email = query.get("login_hint");
      if (query.get("consent") === "deny") {
        redirect.searchParams.set("error", "access_denied");
        return goTo(redirect, query, "");
      }
      if (email === null || !deps.world.accounts.has(email)) {
        return consentPage(query, [...deps.world.accounts.keys()].slice(0, 100));
      }
      if (codes.size >= MAX_PENDING) codes.clear();
      const code = `4/sim-${randomBytes(18).toString("base64url")}`;
      codes.set(code, {
        email,
        clientId: query.get("client_id") ?? "",
        redirectUri: query.get("redirect_uri") ?? "",
        challenge: query.get("code_challenge") ?? undefined,
        challengeMethod: query.get("code_challenge_method") ?? undefined,
        refreshToken: `1//sim-${randomBytes(18).toString("base64url")}`,
      });
      redirect.searchParams.set("code", code);
      redirect.searchParams.set("scope", query.get("scope") ?? "");
      return goTo(redirect, query, email);
    },
  };
}

function readRedirect(text: string | null): URL | undefined {
  if (text === null || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const isLoopback = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  return url.protocol === "http:" && isLoopback ? url : undefined;
}

function goTo(redirect: URL, query: URLSearchParams, account: string): OAuthAnswer {
  const state = query.get("state");
  if (state !== null) redirect.searchParams.set("state", state);
  const body = "";
  return {
    status: 302,
    body,
    contentType: "text/html",
    location: redirect.href,
    account,
    reason: "",
  };
}

function consentPage(query: URLSearchParams, emails: readonly string[]): OAuthAnswer {
  const link = (name: string, value: string): string => {
    const next = new URLSearchParams(query);
    next.set(name, value);
    return `?${next.toString()}`.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
  };
  const choices = emails.map(
    (email) => `<li><a href="${link("login_hint", email)}">${escapeHtml(email)}</a></li>`,
  );
  const body = `<!doctype html><meta charset="utf-8"><title>Simulated consent</title>
<h1>Choose an account</h1>
<p>This is a simulator. Whoever you choose allows this program to see and edit their calendars.</p>
<ul>${choices.join("")}</ul><p><a href="${link("consent", "deny")}">Deny</a></p>`;
  return { status: 200, body, contentType: "text/html", account: "", reason: "" };
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
