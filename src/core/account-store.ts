import type { EpochMs } from "./clock.ts";
import type { Grant } from "./credentials-source.ts";
import type { CalendarListEntry } from "./google-event.ts";
import type { AccountId, AccountName, ProjectId, QuotaUser, TenantId } from "./ids.ts";
import type { EarlierAttempt } from "./request.ts";

/** `needs-reconnect`: Google accepts its credentials no more; nothing is sent until it is connected again. */
export type AccountState = "connected" | "needs-reconnect" | "paused" | "removed";

export interface AccountRow {
  readonly id: AccountId;
  readonly projectId: ProjectId;
  readonly tenantId: TenantId;
  readonly name: AccountName;
  readonly quotaUser: QuotaUser;
  readonly state: AccountState;
  readonly stateReason: string | undefined;
  /** When it came into that state. */
  readonly stateSince: EpochMs;
  readonly grantKind: Grant["kind"];
  readonly scopes: readonly string[];
  readonly connectedAt: EpochMs;
  readonly discoveredAt: EpochMs | undefined;
  readonly discoveryDueAt: EpochMs | undefined;
}

interface ConnectionFacts {
  readonly projectId: ProjectId;
  readonly tenantId: TenantId;
  readonly name: AccountName;
  /** Google's `sub`; undefined: hashed from tenant and name until the primary calendar's id is known. */
  readonly quotaUser: QuotaUser | undefined;
  readonly scopes: readonly string[];
  /** Mirrored and served to nobody; left out: as it is. */
  readonly isShadow?: boolean;
  readonly now: EpochMs;
}

/** An account and what it is connected by: a refresh token, or a service account that acts for it. */
export type AccountConnection = ConnectionFacts &
  (
    | { readonly refreshToken: string; readonly serviceAccount?: undefined }
    | { readonly serviceAccount: ServiceAccountGrant; readonly refreshToken?: undefined }
  );

export type ServiceAccountGrant = Extract<Grant, { readonly kind: "service-account" }>;

/** The right to write one account's calendar list; fenced like `RefreshLease`. */
export interface DiscoveryLease {
  readonly accountId: AccountId;
  readonly fence: number;
}

export interface DiscoveryState {
  readonly accountId: AccountId;
  readonly tenantId: TenantId;
  readonly syncToken: string | undefined;
  readonly queryFingerprint: string | undefined;
  readonly earlierAttempt: EarlierAttempt;
  readonly requested: number;
  readonly consecutiveFailures: number;
}

export type BeginDiscovery =
  | { readonly kind: "begun"; readonly lease: DiscoveryLease; readonly state: DiscoveryState }
  | { readonly kind: "busy"; readonly until: EpochMs }
  /** Due later: what this job was queued for has been done already. */
  | { readonly kind: "not-due" }
  | { readonly kind: "unknown-account" }
  | { readonly kind: "not-refreshable"; readonly reason: string };

export interface DiscoveryResult {
  readonly kind: "full" | "incremental";
  readonly entries: readonly CalendarListEntry[];
  readonly syncToken: string;
  readonly queryFingerprint: string;
  readonly served: number;
  readonly nextDueAt: EpochMs;
  /** Absent from a full list once: asked again soon; absent twice: lost (a second answer confirms). */
  readonly confirmAt: EpochMs;
  readonly now: EpochMs;
}

export interface DiscoveryPostponed {
  readonly dueAt: EpochMs;
  readonly reason: string;
  readonly earlierAttempt: EarlierAttempt;
  readonly failure?: { readonly code: string; readonly consecutive: number } | undefined;
  readonly dropSyncToken: boolean;
}

export interface DiscoveredChanges {
  readonly added: number;
  readonly changed: number;
  readonly lost: number;
  readonly returned: number;
}

/** Tenants, accounts and their credentials. Credentials are sealed before they touch the database. */
export interface AccountStore {
  /** Creates the tenant and account, or reconnects it: ids are kept, an operator's pause too (I12). */
  connect(connection: AccountConnection): Promise<AccountRow>;
  get(id: AccountId): Promise<AccountRow | undefined>;
  find(tenantId: TenantId, name: AccountName): Promise<AccountRow | undefined>;
  list(page: {
    readonly tenantId?: TenantId | undefined;
    readonly state?: AccountState | undefined;
    readonly after?: AccountId | undefined;
    readonly limit: number;
  }): Promise<readonly AccountRow[]>;
  countsByState(): Promise<Readonly<Record<AccountState, number>>>;
  /** The opened credentials; undefined when the account has none. Throws when no key opens them. */
  readGrant(id: AccountId): Promise<Grant | undefined>;
  /** Google may hand out a new refresh token with any refresh; it replaces the stored one. */
  replaceRefreshToken(id: AccountId, refreshToken: string): Promise<void>;
  /** Returns whether the state changed, so that it is reported once. */
  markNeedsReconnect(id: AccountId, reason: string): Promise<boolean>;
  /** Make its discovery due now and count one more request for it. */
  requestDiscovery(id: AccountId, dueAt: EpochMs): Promise<"marked" | "unknown-account">;
  /** Accounts whose discovery is due, in turn over the tenants, longest due first within each. */
  claimDueDiscoveries(query: {
    readonly now: EpochMs;
    readonly limit: number;
    readonly queuedForMs: number;
  }): Promise<readonly { readonly accountId: AccountId; readonly tenantId: TenantId }[]>;
  beginDiscovery(
    id: AccountId,
    lease: { readonly now: EpochMs; readonly until: EpochMs },
  ): Promise<BeginDiscovery>;
  /**
   * One transaction: adds calendars (due for their first sync), updates titles and hidden marks,
   * marks removed ones lost, returns found-again ones, and moves the list's sync token.
   */
  applyDiscovery(
    lease: DiscoveryLease,
    result: DiscoveryResult,
  ): Promise<
    | { readonly kind: "applied"; readonly changes: DiscoveredChanges }
    | { readonly kind: "fenced-out" }
  >;
  postponeDiscovery(
    lease: DiscoveryLease,
    outcome: DiscoveryPostponed,
  ): Promise<"postponed" | "fenced-out">;
}

/** An operator's pause of one account; outlives reconnects, restarts and deploys (I12). */
export interface AccountPauses {
  /** `undefined` lifts it. Written together with its operator-log entry. */
  setOperatorPause(
    id: AccountId,
    pause: { readonly reason: string } | undefined,
    by: { readonly actor: string; readonly now: EpochMs },
  ): Promise<"set" | "unknown-account">;
}
