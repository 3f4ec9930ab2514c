import { Redis } from "ioredis";

/** A `redis://` or `rediss://` URL, or the absolute path of a Unix socket. */
export type RedisAddress = string;

/**
 * Open one connection. Errors are told to `onError` and never thrown from a listener: ioredis
 * reconnects by itself with a bounded delay for as long as the connection is open.
 */
export function openRedis(
  address: RedisAddress,
  options: {
    readonly maxRetriesPerRequest: number | null;
    readonly enableOfflineQueue?: boolean;
    readonly commandTimeout?: number;
  },
  onError: (error: Error) => void,
): Redis {
  const connection = new Redis(address, {
    // Bounded, because the first thing after an outage should not be a minute of waiting.
    retryStrategy: (tries) => Math.min(100 * tries, 1_000),
    ...options,
  });
  connection.on("error", onError);
  return connection;
}
