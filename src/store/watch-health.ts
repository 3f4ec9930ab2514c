import type { Clock } from "../core/clock.ts";
import { StoreUnavailable } from "../core/refusal.ts";
import type { StoreHealth } from "../core/store-health.ts";
import type { Database } from "./database.ts";

/** A write that takes longer than this means a database that cannot keep up with what would be fetched. */
const SLOW_WRITE_MS = 1_000;
/** More than twice the longest wait of who holds a page, or a claimer may come before it. */
const SETTLE_MS = 2_500;

/**
 * Watches the writes of a database and says whether it can take more (I13).
 *
 * States: healthy → unhealthy (a write failed for want of the database, took too long, or is taking too
 * long) → settling (writes end well and in time) → healthy (they did so for a while). The claimer and
 * the day's count write every few seconds, so that a recovery is seen although nothing is fetched
 * meanwhile. While it settles, those who hold fetched pages store them; whoever came first and found
 * their leases run out would fetch the same pages again.
 */
export function watchHealth(
  database: Database,
  clock: Pick<Clock, "monotonicMs">,
): { readonly database: Database; readonly health: StoreHealth } {
  const underWay = new Set<{ readonly startedMs: number }>();
  let isUnwell = false;
  let wellSinceMs = -Infinity;

  const note = (isGood: boolean): void => {
    if (isGood && isUnwell) wellSinceMs = clock.monotonicMs();
    isUnwell = !isGood;
  };

  const write: Database["write"] = async (run) => {
    const mine = { startedMs: clock.monotonicMs() };
    underWay.add(mine);
    try {
      const result = await database.write(run);
      note(clock.monotonicMs() - mine.startedMs < SLOW_WRITE_MS);
      return result;
    } catch (error) {
      if (error instanceof StoreUnavailable) note(false);
      throw error;
    } finally {
      underWay.delete(mine);
    }
  };

  return {
    database: { ...database, write },
    health: {
      canStore() {
        const now = clock.monotonicMs();
        if (isUnwell || now - wellSinceMs < SETTLE_MS) return false;
        for (const { startedMs } of underWay) {
          if (now - startedMs >= SLOW_WRITE_MS) return false;
        }
        return true;
      },
    },
  };
}
