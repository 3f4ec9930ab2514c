import type { ChangeStore } from "../core/change-store.ts";
import { epochMs, type Clock } from "../core/clock.ts";

/**
 * One portion of what is too old of the changes: erased, with the number below which they are gone, in one short
 * transaction. Any number of processes may do it at once; `took`: there may be more.
 */
export function createForgetChanges(
  options: { readonly keepMs: number; readonly portion: number },
  deps: {
    readonly changes: Pick<ChangeStore, "forget">;
    readonly clock: Pick<Clock, "now">;
    readonly onForgotten: (count: number) => void;
  },
): () => Promise<"took" | "idle"> {
  return async () => {
    const before = epochMs(deps.clock.now() - options.keepMs);
    const count = await deps.changes.forget(before, options.portion);
    if (count > 0) deps.onForgotten(count);
    return count < options.portion ? "idle" : "took";
  };
}
