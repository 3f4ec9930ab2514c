/**
 * The fleet's access tokens in Redis, sealed: who reads Redis reads no token.
 *
 * States of an account's keys: the token is absent or there until it expires; the claim is absent or held
 * by one process until it ends it or its time is up.
 */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { z } from "zod";
import { epochMs, type Clock } from "../core/clock.ts";
import type { AccountId } from "../core/ids.ts";
import type { SharedToken, TokenExchange } from "../core/token-exchange.ts";
import { tokenKeys } from "./redis-keys.ts";

const sharedToken = z.object({
  accessToken: z.string(),
  grantId: z.string(),
  expiresAt: z.number(),
  lifetimeMs: z.number(),
});

/** Seals what only this fleet may read; bound to the account it belongs to. */
export interface TokenSeal {
  seal(secret: string, context: string): { readonly sealed: string };
  open(sealed: string, context: string): string;
}

/** Ends a claim only while it is still ours: it may have run out and be another's by now. */
const RELEASE_IF_OURS = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`;

/** The connection is its owner's to close. */
export function createRedisTokenExchange({
  redis,
  seal,
  clock,
}: {
  readonly redis: Redis;
  readonly seal: TokenSeal;
  readonly clock: Clock;
}): TokenExchange {
  return {
    read: async (accountId) => {
      const sealed = await redis.get(tokenKeys(accountId).token);
      return sealed === null ? undefined : readToken(seal.open(sealed, contextOf(accountId)));
    },
    claim: async (accountId, forMs) => {
      const { token: tokenKey, claim: claimKey } = tokenKeys(accountId);
      const mine = randomUUID();
      const taken = await redis.set(claimKey, mine, "PX", Math.ceil(forMs), "NX");
      if (taken === null) return { kind: "taken" };
      const release = async (): Promise<void> => {
        await redis.eval(RELEASE_IF_OURS, 1, claimKey, mine);
      };
      return {
        kind: "claimed",
        claim: {
          release,
          publish: async (token) => {
            const { sealed } = seal.seal(JSON.stringify(token), contextOf(accountId));
            const leftMs = Math.max(1, Math.floor(token.expiresAt - clock.now()));
            await redis.set(tokenKey, sealed, "PX", leftMs);
            await release();
          },
        },
      };
    },
  };
}

function contextOf(accountId: AccountId): string {
  return `access-token:${accountId}`;
}

/** Undefined for what another version wrote otherwise. */
function readToken(text: string): SharedToken | undefined {
  const parsed = sharedToken.safeParse(JSON.parse(text));
  return parsed.success ? { ...parsed.data, expiresAt: epochMs(parsed.data.expiresAt) } : undefined;
}
