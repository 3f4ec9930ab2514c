import { createHash, timingSafeEqual } from "node:crypto";
import { HttpProblem } from "./http-problem.ts";

/** A caller of the HTTP API: only the hash of its token is known here. */
export interface ApiToken {
  readonly name: string;
  readonly scopes: readonly string[];
  /** Hexadecimal. */
  readonly sha256: string;
}

/** Who calls, by the `authorization` header; throws the problem that says what is wrong with it. */
export function authenticate(
  header: string | undefined,
  tokens: readonly ApiToken[],
  scope: string,
): ApiToken {
  const [, presented] = /^Bearer +([\x21-\x7e]{1,512})$/i.exec(header ?? "") ?? [];
  if (presented === undefined) {
    throw new HttpProblem("token-missing", {
      detail: "Send `Authorization: Bearer TOKEN`, a token of BALLAST_API_TOKENS.",
    });
  }
  const digest = createHash("sha256").update(presented).digest();
  // Every token is compared, and each in constant time: how long it takes tells nothing about any of them.
  const matches = tokens.map((token) => (isEqual(digest, token.sha256) ? token : undefined));
  const caller = matches.find((token) => token !== undefined);
  if (caller === undefined) {
    throw new HttpProblem("token-unknown", {
      detail: "No token of BALLAST_API_TOKENS has this one's hash.",
    });
  }
  if (!caller.scopes.includes(scope)) {
    throw new HttpProblem("scope-missing", {
      detail: `The token ${caller.name} lacks the scope ${scope}.`,
    });
  }
  return caller;
}

function isEqual(digest: Buffer, sha256: string): boolean {
  const expected = Buffer.from(sha256, "hex");
  return expected.length === digest.length && timingSafeEqual(expected, digest);
}
