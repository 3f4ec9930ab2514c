import type { EpochMs } from "./clock.ts";
import type { AccountId, CalendarId, TenantId } from "./ids.ts";
import type { EarlierAttempt } from "./request.ts";

/** What is to go: a customer with all that is theirs, one account, or one calendar of an account that stays. */
export type RemovalTarget =
  | { readonly kind: "tenant"; readonly tenantId: TenantId }
  | { readonly kind: "account"; readonly accountId: AccountId }
  | { readonly kind: "calendar"; readonly calendarId: CalendarId };

/** What a removal would take away. */
export interface RemovalPreview {
  readonly tenantId: TenantId;
  readonly accounts: number;
  readonly calendars: number;
  /** Counted up to `COUNTED_EVENTS`. */
  readonly events: number;
  /** Channels to be stopped at Google: as many requests. */
  readonly channels: number;
  /** Tokens of our HTTP API that are the tenant's. */
  readonly apiTokens: number;
}

/** Where a preview's count of events ends. */
export const COUNTED_EVENTS = 100_000;

/**
 * marking (its rows are taken out of use, a few accounts at a time) → releasing (channels stopped, tokens revoked
 * where that was asked for, credentials erased) → erasing (rows, in portions) → settling (what was on its way is waited for,
 * and erased as well) → gone: the row is deleted, and the operator log keeps what was done.
 */
export type RemovalStage = "marking" | "releasing" | "erasing" | "settling";

/** What a removal has done so far. */
export interface RemovalCounts {
  readonly channelsStopped: number;
  /** Channels that could not be stopped: they fire until they end, and their messages are dropped. */
  readonly channelsLeft: number;
  readonly tokensRevoked: number;
  /** Asked for and not done: Google refused, or another account here lives on the same consent. */
  readonly tokensLeft: number;
  readonly erasedRows: number;
}

/** A removal that is under way. */
export interface RemovalRow {
  /** `rem_…` */
  readonly id: string;
  readonly kind: RemovalTarget["kind"];
  /** The tenant's name, or our id of the account or calendar. */
  readonly subject: string;
  readonly tenantId: TenantId;
  readonly stage: RemovalStage;
  readonly isRevoking: boolean;
  readonly askedAt: EpochMs;
  readonly askedBy: string;
  readonly reason: string | undefined;
  readonly dueAt: EpochMs;
  readonly counts: RemovalCounts;
}

/** The right to work on one removal; fenced like a refresh's. */
export interface RemovalLease {
  readonly removalId: string;
  readonly fence: number;
}

/** What is to be done at Google before an account's rows go. */
export interface AccountRelease {
  readonly accountId: AccountId;
  /** False: only a calendar goes, its account stays connected. */
  readonly isLeaving: boolean;
  readonly channels: readonly { readonly id: string; readonly resourceId: string | undefined }[];
  /** `shared`: revoking would end another account's access, which lives on the same consent. */
  readonly revocation: "wanted" | "not-wanted" | "shared";
  /** Of its next call to Google (I3). */
  readonly earlierAttempt: EarlierAttempt;
}

/** An account that has to be asked for again later. */
export type ReleasePostponed = Pick<AccountRelease, "accountId" | "isLeaving" | "earlierAttempt">;

/** How that ended, for good. */
export interface AccountReleased {
  readonly accountId: AccountId;
  readonly isLeaving: boolean;
  readonly channelsStopped: number;
  readonly channelsLeft: number;
  readonly tokensRevoked: number;
  readonly tokensLeft: number;
}

export type RemovalAsked =
  | { readonly kind: "asked"; readonly removal: RemovalRow }
  /** It, or all of its tenant or account, is being removed already. */
  | { readonly kind: "asked-before"; readonly removal: RemovalRow }
  | { readonly kind: "unknown" };

/** Whoever connects or imports meanwhile is refused. */
export class BeingRemoved extends Error {
  override readonly name = "BeingRemoved";
  readonly code = "BALLAST_BEING_REMOVED";

  constructor(what: string) {
    super(`${what} is being removed. Wait until that has ended, then connect it anew.`);
  }
}

/**
 * Removals. From the moment one is asked for its tenant, account or calendar is refused, and as soon as it is
 * marked nothing of it is served, claimed, or asked of Google. Each step is one short transaction and may be
 * repeated, so a crash at any point costs a wait.
 */
export interface RemovalStore {
  preview(target: RemovalTarget): Promise<RemovalPreview | undefined>;
  /** Recorded. An account or a calendar is marked in the same transaction; a tenant's API tokens end with it. */
  ask(
    target: RemovalTarget,
    by: {
      readonly actor: string;
      readonly reason: string | undefined;
      /** Revoke the refresh tokens at Google, too. */
      readonly isRevoking: boolean;
      readonly now: EpochMs;
    },
  ): Promise<RemovalAsked>;
  /** Longest asked first. */
  list(limit: number): Promise<readonly RemovalRow[]>;
  get(id: string): Promise<RemovalRow | undefined>;
  /** Take up to `limit` accounts of a removal out of use; how many. Zero: all are, and it goes on to `releasing`. */
  markSome(
    removalId: string,
    page: { readonly limit: number; readonly now: EpochMs },
  ): Promise<number>;

  /** The one that is due longest, unless `atOnce` are being worked on in the fleet; nobody else takes it for a while. */
  claimDue(query: {
    readonly now: EpochMs;
    readonly atOnce: number;
    readonly queuedForMs: number;
  }): Promise<string | undefined>;
  /** Undefined: not due, or somebody works on it. */
  begin(
    removalId: string,
    lease: { readonly now: EpochMs; readonly until: EpochMs },
  ): Promise<{ readonly lease: RemovalLease; readonly removal: RemovalRow } | undefined>;
  /** In order of account; `after` goes on behind one. From here on their next call is a retry, if nobody says otherwise. */
  beginReleases(
    lease: RemovalLease,
    page: { readonly after: AccountId | undefined; readonly limit: number },
  ): Promise<readonly AccountRelease[] | "fenced-out">;
  /** Channels of the first are forgotten and their credentials erased; the others come again. */
  release(
    lease: RemovalLease,
    released: readonly AccountReleased[],
    postponed: readonly ReleasePostponed[],
  ): Promise<"released" | "fenced-out">;
  /** Erase at most about `limit` rows, those first that others refer to; how many. Zero: there is nothing left. */
  eraseSome(lease: RemovalLease, limit: number): Promise<number | "fenced-out">;
  /** End the lease: in this stage, due then. */
  putBack(
    lease: RemovalLease,
    state: Pick<RemovalRow, "stage" | "dueAt">,
  ): Promise<"put-back" | "fenced-out">;
  /** Nothing is left: forget the removal itself, and record what it did. */
  finish(
    lease: RemovalLease,
    end: { readonly scrub: ScrubOutcome; readonly now: EpochMs },
  ): Promise<RemovalCounts | "fenced-out">;
  /** Overwrite what erased rows left in the database's file, where that can be done. */
  scrub(): Promise<ScrubOutcome>;
}

/** `left-to-vacuum`: the server reuses the space in its own time; `too-large`: rewriting the file would hold writers up for long. */
export type ScrubOutcome = "scrubbed" | "left-to-vacuum" | "too-large" | "busy";
