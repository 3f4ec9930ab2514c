/**
 * A collection that remembers in which order its items changed: the ground under page and sync tokens.
 *
 * State: items in order of creation (an item's ordinal never changes, so a listing that pages by ordinal skips nothing
 * while items are edited under it), and for every revision the ordinal that it changed.
 */
export interface ChangeLog<T> {
  /** The number of the latest change; 0 when nothing ever changed. */
  revision(): number;
  /** Every item ever, deleted ones included, in order of creation. */
  readonly items: readonly T[];
  /** Add a new item; its ordinal is its index. */
  append(item: T): number;
  /** Note that this item changed. */
  touch(ordinal: number): void;
  /** The ordinals changed after one revision and not after another, ascending. */
  changedBetween(after: number, until: number): readonly number[];
}

/** Create an empty log, or one that carries on from stored changes. */
export function createChangeLog<T>(stored?: {
  readonly items: T[];
  readonly changes: number[];
}): ChangeLog<T> & { readonly changes: readonly number[] } {
  const items: T[] = stored?.items ?? [];
  const changes: number[] = stored?.changes ?? [];
  return {
    items,
    changes,
    revision: () => changes.length,
    append(item) {
      items.push(item);
      changes.push(items.length - 1);
      return items.length - 1;
    },
    touch(ordinal) {
      changes.push(ordinal);
    },
    changedBetween(after, until) {
      if (after >= until) return [];
      const ordinals = new Set<number>();
      for (let index = after; index < until; index++) {
        const ordinal = changes[index];
        if (ordinal !== undefined) ordinals.add(ordinal);
      }
      return [...ordinals].toSorted((left, right) => left - right);
    },
  };
}
