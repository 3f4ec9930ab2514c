/**
 * One logical call to the Calendar API in the name of an account: its token is fresh before the call
 * begins, and is replaced once if Google rejects it all the same; the request after that is a retry.
 *
 * State: none.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { CallFailed } from "../core/failure.ts";
import { FAILURE_POLICY } from "../core/failure-policy.ts";
import type { AccountId, QuotaUser } from "../core/ids.ts";
import type { CallOptions, Guard, Operation } from "../core/request.ts";
import type { AccessTokens } from "./google-auth.ts";
import { bearer } from "./google-client.ts";
import type { AccountAccess } from "./token-memory.ts";

export interface GoogleCallDeps {
  readonly guard: Guard;
  readonly tokens: AccessTokens;
  readonly clock: Clock;
}

/** A request as the client makes it, with what is the same for all: credentials, abort, plain text. */
export type Attempt = (
  auth: { readonly auth: ReturnType<typeof bearer>; readonly quotaUser?: string },
  how: { readonly signal: AbortSignal; readonly responseType: "text" },
) => Promise<{ readonly data: unknown }>;

export interface CallWork<T> {
  readonly attempt: Attempt;
  /** Runs within the call, so that a malformed answer may be asked for again. */
  readonly read: (bodyText: unknown) => T;
}

/** Throws CallFailed (Google said no) or Refused (it was not asked). */
export type GoogleCall = <T>(
  target: { readonly accountId: AccountId; readonly operation: Operation },
  options: CallOptions,
  work: CallWork<T>,
) => Promise<T>;

export function createGoogleCall({ guard, tokens, clock }: GoogleCallDeps): GoogleCall {
  return async ({ accountId, operation }, options, { attempt, read }) => {
    const endsAtMs = clock.monotonicMs() + options.deadlineMs;
    const timeLeft = (): { deadlineMs: number } => ({
      deadlineMs: Math.max(0, endsAtMs - clock.monotonicMs()),
    });

    const send = (access: AccountAccess, call: CallOptions): Promise<ReturnType<typeof read>> => {
      const { projectId, tenantId, quotaUser } = access;
      const account = access.budgetAccount ?? accountId;
      const payer = { projectId, tenantId, accountId: account, quotaUser };
      const attribution = { ...payer, consumer: call.consumer, class: call.class };
      const auth = credentialsOf(access);
      return guard.call({ ...call, ...timeLeft(), attribution, operation }, async (signal) => {
        const { data } = await attempt(auth, { signal, responseType: "text" });
        return read(data);
      });
    };

    /** Connected anew with more rights, by a token that was issued before: the account is not to lose them again. */
    const isOfOldGrant = (
      error: unknown,
      { accessToken }: AccountAccess,
    ): Promise<boolean> | false =>
      error instanceof CallFailed &&
      error.failure.kind === "scope-missing" &&
      tokens.isOutdated(accountId, accessToken);

    const access = await tokens.get(accountId, options);
    try {
      return await send(access, options);
    } catch (error) {
      if (!isCuredByNewToken(error) && !(await isOfOldGrant(error, access))) throw error;
      tokens.reject(accountId, access.accessToken);
      const replaced = await tokens.get(accountId, { ...options, ...timeLeft() });
      return send(replaced, { ...options, earlierAttempt: "reached-google" });
    }
  };
}

function credentialsOf(access: AccountAccess): Parameters<Attempt>[0] {
  const auth = bearer(access.accessToken);
  return access.mustNameQuotaUser ? { auth, quotaUser: quotaUserOf(access.quotaUser) } : { auth };
}

/** Google takes 40 characters, and must not be told an address. */
function quotaUserOf(quotaUser: QuotaUser): string {
  return createHash("sha256").update(quotaUser).digest("hex").slice(0, 40);
}

function isCuredByNewToken(error: unknown): boolean {
  return (
    error instanceof CallFailed && FAILURE_POLICY[error.failure.kind].inPlace === "after-new-token"
  );
}
