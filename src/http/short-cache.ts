import type { Clock } from "../core/clock.ts";

/**
 * One answer for all who ask at about the same time, so that a page reloaded by many costs one read.
 *
 * States: empty → asking (all who come wait for the same answer) → held for `maxAgeMs` → empty. A failure
 * is not held.
 */
export function createShortCache<Value>(
  options: { readonly maxAgeMs: number },
  deps: { readonly clock: Pick<Clock, "monotonicMs">; readonly read: () => Promise<Value> },
): () => Promise<Value> {
  let held: { readonly value: Promise<Value>; readonly atMs: number } | undefined;
  return async () => {
    const nowMs = deps.clock.monotonicMs();
    if (held === undefined || nowMs - held.atMs > options.maxAgeMs) {
      held = { value: deps.read(), atMs: nowMs };
    }
    const asked = held;
    try {
      return await asked.value;
    } catch (error) {
      if (held === asked) held = undefined;
      throw error;
    }
  };
}
