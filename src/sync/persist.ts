import type { Clock } from "../core/clock.ts";
import { StoreUnavailable } from "../core/refusal.ts";

const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 1_000;

/**
 * Store what was fetched, for as long as it takes: a fetched page is kept and stored later, not
 * fetched again (I13). Tries again only while the database is gone or slow; the fence in the write
 * itself decides whether it is still wanted. Ends when `signal` aborts.
 */
export async function persist<T>(
  write: () => Promise<T>,
  wait: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<T> {
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2)) {
    try {
      return await write();
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || wait.signal.aborted) throw error;
      await wait.clock.sleep(waitMs, wait.signal);
    }
  }
}
