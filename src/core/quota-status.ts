import type { EpochMs } from "./clock.ts";

/** How the budget stands, as far as the ledger can say. */
export interface QuotaStatus {
  /** The project's sliding window; `limit` is what is in force, slowed by Google's answers where it is. */
  readonly minute: { readonly limit: number; readonly used: number };
  readonly day: { readonly limit: number; readonly used: number };
  readonly retryTokens: number;
  /** Google refuses the whole project: the failure's kind, and when it is asked again. */
  readonly stop: { readonly reason: string; readonly until: EpochMs } | undefined;
  /** Upstreams whose breaker is not closed, with the moment of the next probe. */
  readonly breakers: readonly { readonly upstream: string; readonly openUntil: EpochMs }[];
  /** `scope`: what is paused: `project`, `tenant:acme`, `class:poll`, … */
  readonly pauses: readonly { readonly scope: string; readonly reason: string }[];
}
