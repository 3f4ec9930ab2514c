import type { TenantId } from "./ids.ts";

/** What the claimer puts into the background queue; each kind asks Google for something of its own. */
export const BACKGROUND_WORK = ["push", "poll", "backfill", "discovery", "watch"] as const;
export type BackgroundWork = (typeof BACKGROUND_WORK)[number];

/** How much of one kind of work the budget would let out within a moment. */
export interface WorkRoom {
  /** As many requests would be granted besides those that are waited for already. */
  readonly requests: number;
  /** The limit that leaves no room at all, by the ledger's name for it, and its reason. */
  readonly heldBy: { readonly limit: string; readonly detail: string } | undefined;
}

/**
 * What may be begun now without being refused: more than this would go from the database into the queue, be
 * refused, and get a new due time each.
 */
export type ClaimRoom = Readonly<Record<BackgroundWork, WorkRoom>>;

/** Whom a claim treats otherwise than everybody. */
export interface TenantTerms {
  /** Calendars a tenant is given at each of its turns; 1 for who is not named. */
  readonly weights: ReadonlyMap<TenantId, number>;
  /** Tenants whose background work an operator has paused: their calendars stay due, and are not taken. */
  readonly paused: ReadonlySet<TenantId>;
}
