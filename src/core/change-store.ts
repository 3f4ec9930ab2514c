import type { AccountState } from "./account-store.ts";
import type { EpochMs } from "./clock.ts";
import type { AccountId, CalendarId, TenantId } from "./ids.ts";

/** What became of an account. */
export interface AccountChange {
  readonly kind:
    | "account-connected"
    | "account-needs-reconnect"
    | "account-paused"
    | "account-resumed"
    | "account-removed";
  readonly accountId: AccountId;
  /** The state it came into: connected again, it may still be paused. */
  readonly state: AccountState;
  /** Why it must reconnect (a code of docs/failure-modes.md), or was paused (an operator's words). */
  readonly reason: string | undefined;
  readonly at: EpochMs;
}

/**
 * What changed for a tenant. `calendar-replaced`: read the whole calendar again; it stands for a first
 * publish and for one with more changes than are worth naming.
 */
export type Change =
  | {
      readonly kind: "event-created" | "event-updated" | "event-deleted";
      readonly accountId: AccountId;
      readonly calendarId: CalendarId;
      /** Google's. */
      readonly eventId: string;
      /** The generation that first holds it. */
      readonly generation: number;
      readonly at: EpochMs;
    }
  | {
      readonly kind:
        | "calendar-added"
        | "calendar-replaced"
        | "calendar-lost"
        | "calendar-returned"
        | "calendar-removed";
      readonly accountId: AccountId;
      readonly calendarId: CalendarId;
      readonly generation: number;
      readonly at: EpochMs;
    }
  | AccountChange;

/** A place in a tenant's feed: behind the change of this number; 0 is its beginning. */
export type ChangePosition = number;

export type ChangesRead =
  | {
      readonly kind: "changes";
      readonly changes: readonly Change[];
      /** Where to go on: behind the last of `changes`, or where it began when there are none. */
      readonly next: ChangePosition;
    }
  /**
   * Changes after the position have been forgotten, or it is ahead of the feed (of a database that was
   * set back): read everything again, and go on from the `head` of before.
   */
  | { readonly kind: "forgotten" };

/**
 * A tenant's changes in the order of their commits, so that who follows the positions skips nothing that
 * committed late.
 */
export interface ChangeStore {
  /** At most `limit` after the position. */
  read(
    tenantId: TenantId,
    page: { readonly after: ChangePosition; readonly limit: number },
  ): Promise<ChangesRead>;
  /** Behind the newest change: where one begins who has just read everything. */
  head(tenantId: TenantId): Promise<ChangePosition>;
  /** The newest change of all tenants; 0: there is none. One step of an index. */
  newest(): Promise<ChangePosition>;
  /** Of these tenants, those with changes behind their positions. One query, whatever their number. */
  waiting(cursors: ReadonlyMap<TenantId, ChangePosition>): Promise<readonly TenantId[]>;
  /** Forget changes older than `before`, at most `limit` of them; how many. */
  forget(before: EpochMs, limit: number): Promise<number>;
}

/** Word of commits of this process, as they happen: shortens a wait, and is no proof of anything. */
export interface ChangeNews {
  /** Told whose feeds went on; the answer ends it. The listener must not throw. */
  subscribe(listener: (tenants: readonly TenantId[]) => void): () => void;
}
