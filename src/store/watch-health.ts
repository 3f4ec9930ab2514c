import type { Clock } from "../core/clock.ts";
import { StoreUnavailable } from "../core/refusal.ts";
import type { StoreHealth } from "../core/store-health.ts";
import type { Database } from "./database.ts";

/** A write that takes longer than this means a database that cannot keep up with what would be fetched. */
const SLOW_WRITE_MS = 1_000;

/**
 * Watches the writes of a database and says whether it can take more (I13).
 *
 * States: healthy → unhealthy (a write failed for want of the database, took too long, or is taking too
 * long) → healthy (a write ended well and in time). The claimer and the day's count write every few
 * seconds, so that a recovery is seen although nothing is fetched meanwhile.
 */
export function watchHealth(
  database: Database,
  clock: Pick<Clock, "monotonicMs">,
): { readonly database: Database; readonly health: StoreHealth } {
  const underWay = new Set<{ readonly startedMs: number }>();
  let lastWasGood = true;

  const write: Database["write"] = async (run) => {
    const mine = { startedMs: clock.monotonicMs() };
    underWay.add(mine);
    try {
      const result = await database.write(run);
      lastWasGood = clock.monotonicMs() - mine.startedMs < SLOW_WRITE_MS;
      return result;
    } catch (error) {
      if (error instanceof StoreUnavailable) lastWasGood = false;
      throw error;
    } finally {
      underWay.delete(mine);
    }
  };

  return {
    database: { ...database, write },
    health: {
      canStore() {
        if (!lastWasGood) return false;
        const now = clock.monotonicMs();
        for (const { startedMs } of underWay) {
          if (now - startedMs >= SLOW_WRITE_MS) return false;
        }
        return true;
      },
    },
  };
}
