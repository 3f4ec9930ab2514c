import type { Clock } from "../core/clock.ts";
import type { RequestClass } from "../core/request.ts";
import type { StoreHealth } from "../core/store-health.ts";

const LOOK_EVERY_MS = 250;

interface Run {
  readonly class: RequestClass;
  readonly signal: AbortSignal;
}

/**
 * Background work begins once what it fetches can be stored (I13): until then its job waits and asks
 * the database nothing, so that those who hold fetched pages have it for themselves. Work that a
 * person waits for begins at once.
 */
export function whenStorable<Id, Outcome>(
  work: (id: Id, run: Run) => Promise<Outcome>,
  deps: { readonly storeHealth: StoreHealth; readonly clock: Clock },
): (id: Id, run: Run) => Promise<Outcome | { readonly kind: "skipped"; readonly reason: string }> {
  return async (id, run) => {
    while (run.class !== "interactive" && !deps.storeHealth.canStore()) {
      try {
        await deps.clock.sleep(LOOK_EVERY_MS, run.signal);
      } catch (error) {
        if (!run.signal.aborted) throw error;
        return { kind: "skipped", reason: "store-unavailable" };
      }
    }
    return work(id, run);
  };
}
