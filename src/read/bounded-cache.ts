/**
 * Results by key, the least recently used forgotten first.
 *
 * State: what was computed, at most `maxEntries` and about `maxBytes` of it, and what is being
 * computed: whoever asks for that waits for it, instead of computing it again. Failures are not kept.
 */
export interface BoundedCache<Value> {
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
  /** The value of a key, computed once however many ask at once; `compute` decides what is kept. */
  once(key: string, compute: () => Promise<Value>): Promise<Value>;
}

export function createBoundedCache<Value>(options: {
  readonly maxEntries: number;
  readonly maxBytes: number;
  readonly bytesOf: (value: Value) => number;
}): BoundedCache<Value> {
  const entries = new Map<string, { readonly value: Value; readonly bytes: number }>();
  const flights = new Map<string, Promise<Value>>();
  let bytesHeld = 0;
  const drop = (key: string): void => {
    bytesHeld -= entries.get(key)?.bytes ?? 0;
    entries.delete(key);
  };
  const get = (key: string): Value | undefined => {
    const entry = entries.get(key);
    if (entry === undefined) return undefined;
    entries.delete(key);
    entries.set(key, entry);
    return entry.value;
  };
  return {
    get,
    set(key, value) {
      drop(key);
      const bytes = options.bytesOf(value) + 2 * key.length;
      if (bytes > options.maxBytes) return;
      entries.set(key, { value, bytes });
      bytesHeld += bytes;
      for (const oldest of entries.keys()) {
        if (entries.size <= options.maxEntries && bytesHeld <= options.maxBytes) break;
        drop(oldest);
      }
    },
    once(key, compute) {
      const running = flights.get(key);
      if (running !== undefined) return running;
      const flight = compute().finally(() => {
        flights.delete(key);
      });
      flights.set(key, flight);
      return flight;
    },
  };
}
