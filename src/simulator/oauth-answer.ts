/** What an OAuth endpoint answers. */
export interface OAuthAnswer {
  readonly status: number;
  readonly body: string;
  readonly contentType: "application/json" | "text/html";
  readonly location?: string;
  /** For the log: whose request it was, and why it was refused. */
  readonly account: string;
  readonly reason: string;
}

/** A JSON answer. */
export function oauthJson(status: number, body: object, account = ""): OAuthAnswer {
  const text = JSON.stringify(body);
  return { status, body: text, contentType: "application/json", account, reason: "" };
}

/** A refusal as RFC 6749 and Google write it. */
export function oauthError(
  error: string,
  description: string,
  of: { readonly status?: number; readonly account?: string } = {},
): OAuthAnswer {
  return {
    ...oauthJson(of.status ?? 400, { error, error_description: description }, of.account),
    reason: error,
  };
}
