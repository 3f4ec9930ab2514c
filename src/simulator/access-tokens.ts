import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Account, World } from "./world.ts";

/** Who a request is from. */
export interface Caller {
  readonly account: Account;
  /** The OAuth client's project. */
  readonly project: string;
  /** Whom Google charges; a service account unless `quotaUser` names someone. */
  readonly chargedUser: string;
}

/** Issues and checks access tokens. */
export interface AccessTokens {
  issue(caller: Caller): { readonly accessToken: string; readonly expiresInSeconds: number };
  /** The caller behind a token; undefined when it is unknown, expired or revoked. */
  check(token: string, nowMs: number): Caller | undefined;
}

interface Known extends Caller {
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

const REMEMBERED = 50_000;

/**
 * Create the access tokens of a world.
 *
 * State: none that matters: a token says who it is for and until when, signed with the world's secret, so that it also
 * holds after a restart. Tokens seen lately are remembered to save the signature's cost.
 */
export function createAccessTokens(
  options: { readonly lifetimeSeconds: number },
  deps: { readonly world: World },
): AccessTokens {
  const { world } = deps;
  const remembered = new Map<string, Known>();
  const sign = (text: string): string =>
    createHmac("sha256", world.secret).update(text).digest("base64url").slice(0, 22);
  const remember = (token: string, known: Known): Known => {
    if (remembered.size >= REMEMBERED) remembered.clear();
    remembered.set(token, known);
    return known;
  };
  const read = (token: string): Known | undefined => {
    const [prefix, text, signature] = token.split("~");
    if (prefix !== "ya29.sim" || text === undefined || signature === undefined) return undefined;
    if (!isSame(signature, sign(text))) return undefined;
    const fields = Buffer.from(text, "base64url").toString("utf8").split("\n");
    const [email = "", project = "", chargedUser = "", issued, expires] = fields;
    const account = world.accounts.get(email);
    if (!account) return undefined;
    return remember(token, {
      account,
      project,
      chargedUser,
      issuedAtMs: Number(issued),
      expiresAtMs: Number(expires),
    });
  };

  return {
    issue({ account, project, chargedUser }) {
      const issuedAtMs = world.nowMs();
      const expiresAtMs = issuedAtMs + options.lifetimeSeconds * 1000;
      const nonce = randomBytes(6).toString("base64url");
      const fields = [account.email, project, chargedUser, issuedAtMs, expiresAtMs, nonce];
      const text = Buffer.from(fields.join("\n")).toString("base64url");
      const accessToken = `ya29.sim~${text}~${sign(text)}`;
      remember(accessToken, { account, project, chargedUser, issuedAtMs, expiresAtMs });
      return { accessToken, expiresInSeconds: Math.floor(options.lifetimeSeconds) };
    },
    check(token, nowMs) {
      const known = remembered.get(token) ?? read(token);
      if (!known || known.account.isRevoked) return undefined;
      const isDead =
        nowMs >= known.expiresAtMs || known.issuedAtMs < known.account.tokensDeadBeforeMs;
      return isDead ? undefined : known;
    },
  };
}

function isSame(left: string, right: string): boolean {
  return left.length === right.length && timingSafeEqual(Buffer.from(left), Buffer.from(right));
}
