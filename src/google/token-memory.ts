import type { Clock } from "../core/clock.ts";
import type { AccountCredentials } from "../core/credentials-source.ts";
import type { AccountId } from "../core/ids.ts";

type Payer = Omit<AccountCredentials, "grant">;

/** A token, and who pays for what is asked with it. */
export interface AccountAccess extends Omit<AccountCredentials, "grant"> {
  readonly accessToken: string;
  /** Google would charge the service account itself: each request must name the user. */
  readonly mustNameQuotaUser: boolean;
}

export interface TokenMemoryOptions {
  /** Refresh this long before a token expires; a tenth of a short life at most. */
  readonly eagerRefreshMs: number;
  /** Accounts whose token is kept; the longest unused is forgotten first. */
  readonly maxAccounts: number;
}

/** A token that is good for another request at least. */
export interface KnownToken {
  readonly access: AccountAccess;
  /** What it was issued for. */
  readonly grantId: string;
  readonly isExpiring: boolean;
  /** It is a while ago that its account was known to have that grant. */
  readonly isUnconfirmed: boolean;
}

/**
 * The access tokens of this process. State, per account: absent, or a token that is fresh, then
 * expiring (to be refreshed, still good), then absent again.
 */
export interface TokenMemory {
  find(accountId: AccountId): KnownToken | undefined;
  put(
    accountId: AccountId,
    token: Pick<KnownToken, "access" | "grantId">,
    lifetimeMs: number,
  ): void;
  /** Its account still has the grant that it was issued for; whom Google charges may be known better by now. */
  confirm(accountId: AccountId, payer: Payer): void;
  /** It could not be refreshed now: not to be tried again for a while. */
  keepUsing(accountId: AccountId): void;
  reject(accountId: AccountId, accessToken: string): void;
  forget(accountId: AccountId): void;
}

/** A token endpoint that fails is not asked again at once for an account whose token still holds. */
const REFRESH_AGAIN_AFTER_MS = 30_000;

/** A token that expires sooner than this may do so on its way. */
const LAST_USE_BEFORE_EXPIRY_MS = 2000;

/** For so long may a process go on in the name of an identity that the account was taken from. */
const CONFIRM_AFTER_MS = 60_000;

interface StoredToken {
  access: AccountAccess;
  readonly grantId: string;
  readonly expiresAtMs: number;
  refreshAtMs: number;
  confirmedAtMs: number;
}

export function createTokenMemory(
  { eagerRefreshMs, maxAccounts }: TokenMemoryOptions,
  { clock }: { readonly clock: Clock },
): TokenMemory {
  const tokens = new Map<AccountId, StoredToken>();

  return {
    find: (accountId) => {
      const token = tokens.get(accountId);
      if (!token) return undefined;
      tokens.delete(accountId);
      const nowMs = clock.monotonicMs();
      if (nowMs >= token.expiresAtMs - LAST_USE_BEFORE_EXPIRY_MS) return undefined;
      // To the end of the line: the map's first is the longest unused.
      tokens.set(accountId, token);
      return {
        access: token.access,
        grantId: token.grantId,
        isExpiring: nowMs >= token.refreshAtMs,
        isUnconfirmed: nowMs >= token.confirmedAtMs + CONFIRM_AFTER_MS,
      };
    },
    put: (accountId, { access, grantId }, lifetimeMs) => {
      const confirmedAtMs = clock.monotonicMs();
      const expiresAtMs = confirmedAtMs + lifetimeMs;
      const refreshAtMs = expiresAtMs - Math.min(eagerRefreshMs, lifetimeMs / 10);
      tokens.delete(accountId);
      tokens.set(accountId, { access, grantId, expiresAtMs, refreshAtMs, confirmedAtMs });
      const [longestUnused] = tokens.keys();
      if (tokens.size > maxAccounts && longestUnused !== undefined) tokens.delete(longestUnused);
    },
    confirm: (accountId, payer) => {
      const token = tokens.get(accountId);
      if (!token) return;
      token.access = { ...token.access, ...payer };
      token.confirmedAtMs = clock.monotonicMs();
    },
    keepUsing: (accountId) => {
      const token = tokens.get(accountId);
      if (token) token.refreshAtMs = clock.monotonicMs() + REFRESH_AGAIN_AFTER_MS;
    },
    reject: (accountId, accessToken) => {
      if (tokens.get(accountId)?.access.accessToken === accessToken) tokens.delete(accountId);
    },
    forget: (accountId) => {
      tokens.delete(accountId);
    },
  };
}
