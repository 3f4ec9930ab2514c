/**
 * Access tokens, one refresh at a time per account. A refresh is a logical call of its
 * own, made before the call that needs it, so that it never waits for a slot while it holds one.
 *
 * State: the tokens (token-memory.ts), the refreshes under way here (single-flight.ts) and in the fleet
 * (shared-refresh.ts), the accounts whose latest refresh reached Google and failed, whose next one is a
 * retry (I3), and the latest token of each that Google rejected.
 */
import { epochMs, type Clock } from "../core/clock.ts";
import type { AccountCredentials, CredentialsSource } from "../core/credentials-source.ts";
import { CallFailed } from "../core/failure.ts";
import { FAILURE_POLICY } from "../core/failure-policy.ts";
import type { AccountId, ProjectId } from "../core/ids.ts";
import { Refused } from "../core/refusal.ts";
import type { CallOptions, Guard } from "../core/request.ts";
import type { SharedToken, TokenExchange } from "../core/token-exchange.ts";
import { requestToken, type IssuedToken, type OAuthClient } from "./request-token.ts";
import { createSharedRefresh, type SharedRefresh } from "./shared-refresh.ts";
import { createSingleFlight } from "./single-flight.ts";
import { createTokenMemory, type AccountAccess, type TokenMemoryOptions } from "./token-memory.ts";

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
      const { access, lifetimeMs } = await refresh(accountId, { ...call, earlierAttempt, onSent });
      failed.delete(accountId);
      rejected.delete(accountId);
      memory.put(accountId, access, lifetimeMs);
      return access;
    } catch (error) {
      if (mark.wasSent) {
        failed.add(accountId);
        // It was sent on behalf of that call, which so has reached Google and failed.
        call.onSent?.();
      }
      throw error;
    }
  }, deps);

  return {
    get: async (accountId, call) => {
      call.signal.throwIfAborted();
      const token = memory.find(accountId);
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
) => Promise<{ readonly access: AccountAccess; readonly lifetimeMs: number }> {
  const shareRefresh = deps.exchange
    ? createSharedRefresh({ exchange: deps.exchange, clock: deps.clock, random: Math.random })
    : refreshAlone(deps.clock);

  async function ask(
    { grant, ...payer }: AccountCredentials,
    accountId: AccountId,
    call: CallOptions,
  ): Promise<IssuedToken> {
    const attribution = { ...payer, accountId, consumer: call.consumer, class: call.class };
    const issued = await deps.guard.call({ ...call, attribution, operation: "oauth.token" }, () =>
      requestToken(grant, options.oauthClientOf(payer.projectId), {
        tokenUrl: options.tokenUrl,
        fetch: deps.guard.fetch,
      }),
    );
    if (issued.newRefreshToken !== undefined) {
      await deps.credentials.replaceRefreshToken(accountId, issued.newRefreshToken);
    }
    return issued;
  }

  return async (accountId, call) => {
    const credentials = await deps.credentials.read(accountId);
    if (!credentials) {
      throw new CallFailed({ kind: "credentials-revoked" }, { operation: "oauth.token" });
    }
    const token = await shareRefresh({
      accountId,
      signal: call.signal,
      isGood: (shared) =>
        shared.accessToken !== rejected.get(accountId) && !isExpiring(shared, options, deps.clock),
      refresh: (afterAnother) =>
        ask(credentials, accountId, afterAnother ? { ...call, ...RETRY } : call),
    });
    const { grant, ...payer } = credentials;
    const mustNameQuotaUser = grant.kind === "service-account";
    const access = { ...payer, accessToken: token.accessToken, mustNameQuotaUser };
    return { access, lifetimeMs: token.expiresAt - deps.clock.now() };
  };
}

const RETRY = { earlierAttempt: "reached-google" } as const;

function refreshAlone(clock: Clock): SharedRefresh {
  return async ({ refresh }) => {
    const { accessToken, lifetimeMs } = await refresh(false);
    return { accessToken, lifetimeMs, expiresAt: epochMs(clock.now() + lifetimeMs) };
  };
}

function isExpiring(
  { expiresAt, lifetimeMs }: SharedToken,
  { eagerRefreshMs }: TokenMemoryOptions,
  clock: Clock,
): boolean {
  return expiresAt - clock.now() <= Math.min(eagerRefreshMs, lifetimeMs / 10);
}

function isPassing(error: unknown): boolean {
  if (error instanceof Refused) return true;
  return error instanceof CallFailed && !FAILURE_POLICY[error.failure.kind].isPermanent;
}
