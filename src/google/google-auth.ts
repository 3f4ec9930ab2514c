/**
 * Access tokens, one refresh at a time per account in this process. A refresh is a logical call of its
 * own, made before the call that needs it, so that it never waits for a slot while it holds one.
 *
 * State: the tokens (token-memory.ts), the refreshes under way (single-flight.ts), and the accounts whose
 * latest refresh reached Google and failed, whose next one is a retry (I3).
 */
import type { Clock } from "../core/clock.ts";
import type { CredentialsSource } from "../core/credentials-source.ts";
import { CallFailed } from "../core/failure.ts";
import { FAILURE_POLICY } from "../core/failure-policy.ts";
import type { AccountId, ProjectId } from "../core/ids.ts";
import { Refused } from "../core/refusal.ts";
import type { CallOptions, Guard } from "../core/request.ts";
import { requestToken, type OAuthClient } from "./request-token.ts";
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

  async function refresh(accountId: AccountId, call: CallOptions): Promise<AccountAccess> {
    const credentials = await deps.credentials.read(accountId);
    if (!credentials) {
      throw new CallFailed({ kind: "credentials-revoked" }, { operation: "oauth.token" });
    }
    const { grant, ...payer } = credentials;
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
    const mustNameQuotaUser = grant.kind === "service-account";
    const access = { ...payer, accessToken: issued.accessToken, mustNameQuotaUser };
    memory.put(accountId, access, issued.lifetimeMs);
    return access;
  }

  const refreshOnce = createSingleFlight(async (accountId, { noteSent, ...call }) => {
    const mark = { wasSent: false };
    const onSent = (): void => {
      mark.wasSent = true;
      noteSent();
    };
    const earlierAttempt = failed.has(accountId) ? "reached-google" : call.earlierAttempt;
    try {
      const access = await refresh(accountId, { ...call, earlierAttempt, onSent });
      failed.delete(accountId);
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
      memory.reject(accountId, accessToken);
    },
    forget: (accountId) => {
      memory.forget(accountId);
      failed.delete(accountId);
    },
  };
}

function isPassing(error: unknown): boolean {
  if (error instanceof Refused) return true;
  return error instanceof CallFailed && !FAILURE_POLICY[error.failure.kind].isPermanent;
}
