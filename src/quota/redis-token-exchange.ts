/**
 * The fleet's access tokens in Redis. A token's place and its seal are both derived from the grant that it
 * was issued for: workers and guarded clients, which share no other secret, find and open it, and who
 * reads Redis learns neither token nor grant.
 *
 * States of a grant's keys: the token is absent or there until it expires; the claim is absent or held
 * by one process until it ends it or its time is up.
 */
import { hkdfSync, randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { z } from "zod";
import { epochMs, type Clock } from "../core/clock.ts";
import type { Grant } from "../core/credentials-source.ts";
import { openBytes, sealBytes } from "../core/seal-bytes.ts";
import type { SharedToken, TokenExchange, TokenForgetting } from "../core/token-exchange.ts";
import { tokenKeys } from "./redis-keys.ts";

const sharedToken = z.object({
  accessToken: z.string(),
  grantId: z.string(),
  expiresAt: z.number(),
  lifetimeMs: z.number(),
});

/** Ends a claim only while it is still ours: it may have run out and be another's by now. */
const RELEASE_IF_OURS = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`;

/** The connection is its owner's to close. */
export function createRedisTokenExchange({
  redis,
  clock,
}: {
  readonly redis: Redis;
  readonly clock: Clock;
}): TokenExchange & TokenForgetting {
  async function put(place: TokenPlace, token: SharedToken): Promise<void> {
    const plain = Buffer.from(JSON.stringify(token), "utf8");
    const leftMs = Math.max(1, Math.floor(token.expiresAt - clock.now()));
    const sealed = sealBytes(place.key, plain, place.name);
    await redis.set(tokenKeys(place.name).token, sealed, "PX", leftMs);
  }
  return {
    read: async (grant) => {
      const place = placeOf(grant);
      const sealed = await redis.get(tokenKeys(place.name).token);
      return sealed === null ? undefined : readToken(openBytes(place.key, sealed, place.name));
    },
    forget: async (grant) => {
      const { token, claim } = tokenKeys(placeOf(grant).name);
      await redis.del(token, claim);
    },
    claim: async (grant, forMs) => {
      const place = placeOf(grant);
      const { claim: claimKey } = tokenKeys(place.name);
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
          publish: async (token, newGrant) => {
            if (newGrant) await put(placeOf(newGrant), token);
            await put(place, token);
            await release();
          },
        },
      };
    },
  };
}

/** Where a grant's token is, and the key that opens it. */
interface TokenPlace {
  readonly name: string;
  readonly key: Uint8Array;
}

function placeOf(grant: Grant): TokenPlace {
  const secret =
    grant.kind === "refresh-token"
      ? [grant.refreshToken]
      : [grant.clientEmail, grant.privateKey, grant.subject ?? "", ...grant.scopes.toSorted()];
  const derive = (purpose: string, length: number): Buffer =>
    Buffer.from(
      hkdfSync("sha256", JSON.stringify(secret), "ballast access token", purpose, length),
    );
  return { name: derive("name", 16).toString("hex"), key: derive("seal", 32) };
}

/** Undefined for what another version wrote otherwise, and for what is no seal of ours. */
function readToken(opened: ReturnType<typeof openBytes>): SharedToken | undefined {
  if (typeof opened === "string") return undefined;
  const parsed = sharedToken.safeParse(JSON.parse(Buffer.from(opened).toString("utf8")));
  return parsed.success ? { ...parsed.data, expiresAt: epochMs(parsed.data.expiresAt) } : undefined;
}
