import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from "node:crypto";

/** Proves that a notification is about a channel that we opened, without asking any store. */
export interface PushTokens {
  /** What a channel is opened with; Google repeats it with every notification. */
  tokenOf(channelId: string): string;
  /** Takes the same time whatever the token is. */
  isOurs(channelId: string, token: string): boolean;
}

/**
 * HMAC-SHA256(key, channel id). The first key makes tokens; all of them check, so that channels opened
 * under a key before it was rotated stay good for as long as that key is kept.
 */
export function createPushTokens(secrets: readonly Uint8Array[]): PushTokens {
  // Made once: of a key that comes as bytes, Node finds out anew each time what it is, which takes longer than the MAC.
  const keys = secrets.map((secret) => createSecretKey(secret));
  const [current] = keys;
  if (current === undefined) throw new Error("Push tokens need at least one key");
  return {
    tokenOf: (channelId) => macOf(current, channelId).toString("base64url"),
    isOurs(channelId, token) {
      const given = Buffer.from(token, "base64url");
      let isGood = false;
      for (const key of keys) {
        const expected = macOf(key, channelId);
        // Lengths are no secret; contents are compared in constant time, with every key.
        const isEqual = given.length === expected.length && timingSafeEqual(given, expected);
        isGood = isEqual || isGood;
      }
      return isGood;
    },
  };
}

function macOf(key: KeyObject, channelId: string): Buffer {
  return createHmac("sha256", key).update(channelId).digest();
}
