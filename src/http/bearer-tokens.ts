import { timingSafeEqual } from "node:crypto";
import { HttpProblem } from "./http-problem.ts";
import type { Caller } from "./verify-token.ts";

/** An operator's token, from the environment: only its hash is known here. */
export interface ApiToken {
  readonly name: string;
  readonly scopes: readonly string[];
  /** Hexadecimal. */
  readonly sha256: string;
}

/** The operator whose token has this hash; throws when there is none. */
export function findOperator(digest: Buffer, tokens: readonly ApiToken[]): Caller {
  // Every token is compared, and each in constant time: how long it takes tells nothing about any of them.
  const matches = tokens.map((token) => (isEqual(digest, token.sha256) ? token : undefined));
  const found = matches.find((token) => token !== undefined);
  if (found === undefined) {
    throw new HttpProblem("token-unknown", {
      detail: "This token is not known, or it was revoked.",
    });
  }
  const { name, scopes } = found;
  return { tokenId: `operator:${name}`, name, tenantId: undefined, scopes };
}

function isEqual(digest: Buffer, sha256: string): boolean {
  const expected = Buffer.from(sha256, "hex");
  return expected.length === digest.length && timingSafeEqual(expected, digest);
}
