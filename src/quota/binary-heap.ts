/** A priority queue: least first by `isBefore`. */
export interface BinaryHeap<T> {
  readonly size: number;
  push(item: T): void;
  peek(): T | undefined;
  pop(): T | undefined;
}

/** An empty heap; `isBefore` must not change its mind about two items while both are inside. */
export function createBinaryHeap<T>(isBefore: (a: T, b: T) => boolean): BinaryHeap<T> {
  const items: T[] = [];

  const precedes = (a: number, b: number): boolean => {
    const first = items[a];
    const second = items[b];
    return first !== undefined && second !== undefined && isBefore(first, second);
  };
  const swap = (a: number, b: number): void => {
    const first = items[a];
    const second = items[b];
    if (first === undefined || second === undefined) return;
    items[a] = second;
    items[b] = first;
  };
  const rise = (start: number): void => {
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!precedes(index, parent)) return;
      swap(index, parent);
      index = parent;
    }
  };
  const sink = (): void => {
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const least = precedes(left + 1, left) ? left + 1 : left;
      if (!precedes(least, index)) return;
      swap(index, least);
      index = least;
    }
  };

  return {
    get size() {
      return items.length;
    },
    push: (item) => {
      items.push(item);
      rise(items.length - 1);
    },
    peek: () => items[0],
    pop: () => {
      const first = items[0];
      const last = items.pop();
      if (last !== undefined && items.length > 0) {
        items[0] = last;
        sink();
      }
      return first;
    },
  };
}
