/**
 * Work on many keys in groups: one group at a time, one item for each key.
 *
 * States of an item: waiting (who asks for the same key meanwhile is merged into it) → at work (who asks
 * now waits for the next group, since this one may have looked before) → answered, or failed with its group.
 * Closing answers what waits and takes nothing more.
 */
import type { Clock } from "../core/clock.ts";
import { QueueFull } from "../core/refusal.ts";

/** Hands items in, and resolves with what became of each. */
export interface GroupWork<Item, Result> {
  /** Rejects with `QueueFull` when too many wait. */
  add(key: string, item: Item): Promise<Result>;
  close(): Promise<void>;
}

interface Waiting<Item, Result> {
  item: Item;
  readonly told: PromiseWithResolvers<Result>;
}

export function createGroupWork<Item, Result>(
  options: {
    readonly what: string;
    /** How long the first of a group waits for company. */
    readonly gatherMs: number;
    readonly groupLimit: number;
    readonly mostWaiting: number;
  },
  deps: {
    readonly clock: Pick<Clock, "sleep">;
    readonly merge: (before: Item, added: Item) => Item;
    /** In the order of the items. */
    readonly run: (items: readonly Item[]) => Promise<readonly Result[]>;
  },
): GroupWork<Item, Result> {
  const waiting = new Map<string, Waiting<Item, Result>>();
  const closing = new AbortController();
  let working: Promise<void> | undefined;

  async function workOff(): Promise<void> {
    while (waiting.size > 0) {
      if (!closing.signal.aborted) {
        // Woken by being closed: what has gathered is worked off all the same.
        await deps.clock.sleep(options.gatherMs, closing.signal).catch(() => undefined);
      }
      const group = [...waiting].slice(0, options.groupLimit);
      for (const [key] of group) waiting.delete(key);
      await settle(group.map(([, one]) => one));
    }
    working = undefined;
  }

  async function settle(group: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await deps.run(group.map(({ item }) => item));
      for (const [at, { told }] of group.entries()) {
        const result = results[at];
        if (result === undefined) told.reject(new Error(`${options.what}: an item has no result`));
        else told.resolve(result);
      }
    } catch (error) {
      for (const { told } of group) told.reject(error);
    }
  }

  return {
    add(key, item) {
      const known = waiting.get(key);
      if (known !== undefined) {
        known.item = deps.merge(known.item, item);
        return known.told.promise;
      }
      if (closing.signal.aborted || waiting.size >= options.mostWaiting) {
        const message = `${options.what}: ${String(waiting.size)} wait already.`;
        return Promise.reject(new QueueFull({ message, retryAfterMs: 1_000 }));
      }
      const told = Promise.withResolvers<Result>();
      waiting.set(key, { item, told });
      working ??= workOff();
      return told.promise;
    },
    async close() {
      closing.abort(new Error(`${options.what}: closed`));
      await working;
    },
  };
}
