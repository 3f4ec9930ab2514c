/**
 * Which logical call the running code belongs to, carried by AsyncLocalStorage, so that a request
 * that libraries make on the way (a token refresh) is attributed too (I2).
 *
 * State, per logical call: which upstreams a request of it has reached, which makes every further
 * one a retry, and the failure of its latest request. It lives as long as the call.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Failure } from "../core/failure.ts";
import type { LogicalCall, Operation } from "../core/request.ts";
import type { Upstream } from "./permit.ts";

/** One logical call under way. */
export interface CallScope {
  readonly call: LogicalCall;
  /** Aborts with the caller, at the deadline, and when the guard closes. */
  readonly signal: AbortSignal;
  /** In the asker's monotonic time. */
  readonly deadlineAtMs: number;
  /** A failed request to one upstream makes the next to the same one a retry, and no other. */
  readonly reached: Set<Upstream>;
  /** Of the latest request of this attempt; undefined when it succeeded, or none was made. */
  failure: { readonly failure: Failure; readonly operation: Operation } | undefined;
}

/** Remembers the current call across awaits. */
export interface CurrentCall {
  run<T>(scope: CallScope, work: () => Promise<T>): Promise<T>;
  get(): CallScope | undefined;
}

/** One per guard: a call of one guard attributes nothing to another. */
export function createCurrentCall(): CurrentCall {
  const storage = new AsyncLocalStorage<CallScope>();
  return {
    run: (scope, work) => storage.run(scope, work),
    get: () => storage.getStore(),
  };
}
