import { Unattributed } from "../../../src/core/refusal.ts";

/** Options of a call that would send it, or its token request, past the choke point. */
const WAYS_AROUND = ["auth", "http2", "adapter", "fetchImplementation"] as const;

/**
 * The same client, whose every method refuses, before anything is sent, to be told another way to Google.
 * Thrown at once and not returned: a method called with a callback has nobody to reject to.
 */
export function guardSurface<T extends object>(surface: T): T {
  return new Proxy(surface, {
    get: (target, name): unknown => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value === "function") {
        return (...args: unknown[]): unknown => {
          args.forEach(refuseWaysAround);
          return Reflect.apply(value, target, args);
        };
      }
      return typeof value === "object" && value !== null && name !== "context"
        ? guardSurface(value)
        : value;
    },
  });
}

function refuseWaysAround(argument: unknown): void {
  if (typeof argument !== "object" || argument === null) return;
  const found = WAYS_AROUND.find(
    (name) => name in argument && Reflect.get(argument, name) !== undefined,
  );
  if (found === undefined) return;
  throw new Unattributed({
    message: `The option ${found} would go around the budget and is refused; a guarded calendar brings its own`,
  });
}
