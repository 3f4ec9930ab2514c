import { createHash } from "node:crypto";
import type { Redis } from "ioredis";

const COMMAND_TIMEOUT_MS = 1_500;

/**
 * A connection of its own that never queues, resends or waits for ever: an ask that ran late on another server
 * would be a grant that nobody accounts for (I1).
 */
export function connectStrictly(redis: Redis): Redis {
  const connection = redis.duplicate({
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: COMMAND_TIMEOUT_MS,
    retryStrategy: (attempts: number) => Math.min(50 * attempts, 500),
    lazyConnect: false,
  });
  // Each ask fails by itself while the connection is gone; an unheard event would end the process.
  connection.on("error", () => undefined);
  return connection;
}

/** Runs the script by its digest; a server that does not know it yet is sent the text. */
export function createEvaluator(
  connection: Redis,
  script: string,
): (args: readonly string[]) => Promise<unknown> {
  const sha = createHash("sha1").update(script).digest("hex");
  return async (args) => {
    try {
      return await connection.call("EVALSHA", sha, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return connection.call("EVAL", script, ...args);
    }
  };
}
