import { Redis } from "ioredis";
import { refreshCalendar } from "../../../jobs/refresh-calendar.ts";
import type { ClaimedCalendar } from "../../../src/core/calendar-store.ts";
import { epochMs, systemClock } from "../../../src/core/clock.ts";
import type { RedisProgram } from "../../../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../../../src/embedded/redis-server.ts";
import { openWorkQueue } from "../../../src/queue/work-queue.ts";

/** A private Redis with the work queue, and what is kept there. */
export interface QueueMemory {
  /** What claimers do with what they took. */
  enqueue(claimed: readonly ClaimedCalendar[]): Promise<void>;
  /** Bytes of every key there is. */
  bytes(): Promise<number>;
  close(): Promise<void>;
}

export async function openQueueMemory(
  program: RedisProgram,
  onError: (error: Error) => void,
): Promise<QueueMemory> {
  const redis = await startPrivateRedis({ program, persistent: false }, { clock: systemClock });
  const queue = await openWorkQueue({ redis: redis.url, connectWithinMs: 30_000 }, { onError });
  const connection = new Redis(redis.url, { maxRetriesPerRequest: null });
  return {
    async enqueue(claimed) {
      for (const { calendarId, class: requestClass } of claimed) {
        const payload = { calendarId, class: requestClass };
        await queue.add(refreshCalendar, payload, { claimedAt: epochMs(0) });
      }
      // As a claimer does before each look: it makes the queue's own keys.
      await queue.waiting("background");
    },
    async bytes() {
      let sum = 0;
      for (const key of await connection.keys("*")) {
        sum += Number(await connection.memory("USAGE", key, "SAMPLES", 0));
      }
      return sum;
    },
    async close() {
      connection.disconnect();
      await queue.close();
      await redis.stop();
    },
  };
}
