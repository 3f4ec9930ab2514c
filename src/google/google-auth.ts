/**
 * Access tokens, one refresh at a time per account. A refresh is a logical call of its
 * own, made before the call that needs it, so that it never waits for a slot while it holds one.
 *
 * State: the tokens (token-memory.ts), the refreshes under way here (single-flight.ts) and in the fleet
 * (shared-refresh.ts), the accounts whose latest refresh reached Google and failed, whose next one is a
 * retry (I3), and the latest token of each that Google rejected.
 */
import { createHash } from "node:crypto";
import { epochMs, type Clock } from "../core/clock.ts";
import type { AccountCredentials, CredentialsSource, Grant } from "../core/credentials-source.ts";
import { CallFailed } from "../core/failure.ts";
import { FAILURE_POLICY } from "../core/failure-policy.ts";
import type { AccountId, ProjectId } from "../core/ids.ts";
import { Refused } from "../core/refusal.ts";
import type { CallOptions, Guard } from "../core/request.ts";
import type { SharedToken, TokenExchange } from "../core/token-exchange.ts";
import { requestToken, type OAuthClient } from "./request-token.ts";
import { createSharedRefresh, type FreshToken, type SharedRefresh } from "./shared-refresh.ts";
import { createSingleFlight } from "./single-flight.ts";
import { createTokenRest } from "./token-rest.ts";
import {
  createTokenMemory,
  type AccountAccess,
  type KnownToken,
  type TokenMemoryOptions,
} from "./token-memory.ts";

export interface AccessTokensOptions extends TokenMemoryOptions {
  readonly tokenUrl: string;
  readonly oauthClientOf: (projectId: ProjectId) => OAuthClient;
}

export interface AccessTokensDeps {
  readonly guard: Guard;
  readonly credentials: CredentialsSource;
  readonly clock: Clock;
  /** Without one, each process refreshes for itself. */
  readonly exchange?: TokenExchange | undefined;
}

export interface AccessTokens {
  /** Throws CallFailed (the token endpoint said no) or Refused (it was not asked). */
  get(accountId: AccountId, call: CallOptions): Promise<AccountAccess>;
  /** Google rejected this token: it is not handed out again. */
  reject(accountId: AccountId, accessToken: string): void;
  /** Whether the account has another token by now, or was connected anew since this one was issued. */
  isOutdated(accountId: AccountId, accessToken: string): Promise<boolean>;
  /** The account was connected anew, or removed. */
  forget(accountId: AccountId): void;
}

/** Nothing to close: it holds no timer once nobody waits. */
export function createAccessTokens(
  options: AccessTokensOptions,
  deps: AccessTokensDeps,
): AccessTokens {
  const memory = createTokenMemory(options, deps);
  const failed = new Set<AccountId>();
  const rejected = new Map<AccountId, string>();
  const refresh = createRefresh(options, deps, rejected);

  const refreshOnce = createSingleFlight(async (accountId, { noteSent, ...call }) => {
    const mark = { wasSent: false };
    const onSent = (): void => {
      mark.wasSent = true;
      noteSent();
    };
    const earlierAttempt = failed.has(accountId) ? "reached-google" : call.earlierAttempt;
    try {
      const token = await refresh(accountId, { ...call, earlierAttempt, onSent });
      failed.delete(accountId);
      rejected.delete(accountId);
      memory.put(accountId, token, token.lifetimeMs);
      return token.access;
    } catch (error) {
      if (mark.wasSent) {
        failed.add(accountId);
        // It was sent on behalf of that call, which so has reached Google and failed.
        call.onSent?.();
      }
      throw error;
    }
  }, deps);

  /** An account that was connected anew, perhaps as someone else, has no use for its old token. */
  async function findToken(accountId: AccountId): Promise<KnownToken | undefined> {
    const token = memory.find(accountId);
    if (!token?.isUnconfirmed) return token;
    const credentials = await deps.credentials.read(accountId);
    if (credentials && grantIdOf(credentials.grant) === token.grantId) {
      const { grant: _, ...payer } = credentials;
      memory.confirm(accountId, payer);
      return { ...token, access: { ...token.access, ...payer } };
    }
    memory.forget(accountId);
    return undefined;
  }

  return {
    get: async (accountId, call) => {
      call.signal.throwIfAborted();
      const token = await findToken(accountId);
      if (token && !token.isExpiring) return token.access;
      try {
        return await refreshOnce(accountId, call);
      } catch (error) {
        // The old token is good to its end: trouble at the token endpoint stops nobody before.
        if (!token || !isPassing(error) || call.signal.aborted) throw error;
        memory.keepUsing(accountId);
        return token.access;
      }
    },
    reject: (accountId, accessToken) => {
      rejected.set(accountId, accessToken);
      memory.reject(accountId, accessToken);
    },
    isOutdated: async (accountId, accessToken) => {
      const token = memory.find(accountId);
      if (token?.access.accessToken !== accessToken) return true;
      return hasAnotherGrant(await deps.credentials.read(accountId), token);
    },
    forget: (accountId) => {
      memory.forget(accountId);
      failed.delete(accountId);
      rejected.delete(accountId);
    },
  };
}

/** Gets an account a token, by this process or another of the fleet. */
function createRefresh(
  options: AccessTokensOptions,
  deps: AccessTokensDeps,
  rejected: ReadonlyMap<AccountId, string>,
): (
  accountId: AccountId,
  call: CallOptions,
) => Promise<Pick<KnownToken, "access" | "grantId"> & { readonly lifetimeMs: number }> {
  const shareRefresh = deps.exchange
    ? createSharedRefresh({ exchange: deps.exchange, clock: deps.clock, random: Math.random })
    : refreshAlone(deps.clock);
  const rest = createTokenRest(deps);

  async function ask(
    credentials: AccountCredentials,
    accountId: AccountId,
    call: CallOptions,
  ): Promise<FreshToken> {
    rest.check(credentials);
    try {
      return await askGoogle(credentials, accountId, call);
    } catch (error) {
      rest.note(credentials, error);
      throw error;
    }
  }

  async function askGoogle(
    { grant, budgetAccount, ...payer }: AccountCredentials,
    accountId: AccountId,
    call: CallOptions,
  ): Promise<FreshToken> {
    const account = budgetAccount ?? accountId;
    const { consumer, class: requestClass } = call;
    const attribution = { ...payer, accountId: account, consumer, class: requestClass };
    const { accessToken, lifetimeMs, newRefreshToken } = await deps.guard.call(
      { ...call, attribution, operation: "oauth.token" },
      () =>
        requestToken(grant, options.oauthClientOf(payer.projectId), {
          tokenUrl: options.tokenUrl,
          fetch: deps.guard.fetch,
        }),
    );
    if (newRefreshToken === undefined)
      return { accessToken, lifetimeMs, grantId: grantIdOf(grant) };
    await deps.credentials.replaceRefreshToken(accountId, newRefreshToken);
    const newGrant = { kind: "refresh-token", refreshToken: newRefreshToken } as const;
    return { accessToken, lifetimeMs, grantId: grantIdOf(newGrant), newGrant };
  }

  return async (accountId, call) => {
    const begunAtMs = deps.clock.monotonicMs();
    const credentials = await deps.credentials.read(accountId);
    if (!credentials) {
      throw new CallFailed({ kind: "credentials-revoked" }, { operation: "oauth.token" });
    }
    const token = await shareRefresh({
      grant: credentials.grant,
      signal: call.signal,
      isGood: (shared) =>
        shared.accessToken !== rejected.get(accountId) && !isExpiring(shared, options, deps.clock),
      refresh: (afterAnother) => {
        // What the exchange took is gone: who waits must hear why before his own time is up.
        const takenMs = deps.clock.monotonicMs() - begunAtMs;
        const left = { ...call, deadlineMs: Math.max(1, call.deadlineMs - takenMs) };
        return ask(credentials, accountId, afterAnother ? { ...left, ...RETRY } : left);
      },
    });
    const { grant, ...payer } = credentials;
    const mustNameQuotaUser = grant.kind === "service-account";
    const access = { ...payer, accessToken: token.accessToken, mustNameQuotaUser };
    return { access, grantId: token.grantId, lifetimeMs: token.expiresAt - deps.clock.now() };
  };
}

const RETRY = { earlierAttempt: "reached-google" } as const;

function refreshAlone(clock: Clock): SharedRefresh {
  return async ({ refresh }) => {
    const issued = await refresh(false);
    return { ...issued, expiresAt: epochMs(clock.now() + issued.lifetimeMs) };
  };
}

function isExpiring(
  { expiresAt, lifetimeMs }: SharedToken,
  { eagerRefreshMs }: TokenMemoryOptions,
  clock: Clock,
): boolean {
  return expiresAt - clock.now() <= Math.min(eagerRefreshMs, lifetimeMs / 10);
}

function hasAnotherGrant(
  credentials: AccountCredentials | undefined,
  { grantId }: KnownToken,
): boolean {
  return credentials !== undefined && grantIdOf(credentials.grant) !== grantId;
}

/** Names a grant without telling it. */
function grantIdOf(grant: Grant): string {
  return createHash("sha256").update(JSON.stringify(grant)).digest("hex").slice(0, 32);
}

function isPassing(error: unknown): boolean {
  if (error instanceof Refused) return true;
  return error instanceof CallFailed && !FAILURE_POLICY[error.failure.kind].isPermanent;
}
