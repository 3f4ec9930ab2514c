/**
 * Token requests that cannot succeed for reasons that are no account's: while one such refusal is fresh, other
 * accounts of the same client are refused here, without a request.
 *
 * State, per client, service account and tenant, or clock: open → resting until a moment → open (the next one asks).
 */
import type { Clock } from "../core/clock.ts";
import type { AccountCredentials } from "../core/credentials-source.ts";
import { CallFailed, type Failure } from "../core/failure.ts";
import { FAILURE_POLICY } from "../core/failure-policy.ts";

export interface TokenRest {
  /** Throws what Google last said, if that was a moment ago. */
  check(credentials: AccountCredentials): void;
  note(credentials: AccountCredentials, error: unknown): void;
}

const REST_MS = 10_000;
/** Tenants come and go; beyond this many the longest known is forgotten, and asks once more. */
const MAX_CLIENTS = 1_000;

export function createTokenRest({ clock }: { readonly clock: Clock }): TokenRest {
  const resting = new Map<string, { readonly failure: Failure; readonly untilMs: number }>();

  return {
    check: (credentials) => {
      for (const client of clientsOf(credentials)) {
        const rest = resting.get(client);
        if (rest === undefined) continue;
        if (clock.monotonicMs() < rest.untilMs) {
          throw new CallFailed(rest.failure, { operation: "oauth.token" });
        }
        resting.delete(client);
      }
    },
    note: (credentials, error) => {
      if (!(error instanceof CallFailed)) return;
      const { failure } = error;
      if (FAILURE_POLICY[failure.kind].owner.kind !== "alarm") return;
      const [own, clockOfAll] = clientsOf(credentials);
      const client = failure.kind === "clock-skewed" ? (clockOfAll ?? own) : own;
      resting.set(client, { failure, untilMs: clock.monotonicMs() + REST_MS });
      const [longestKnown] = resting.keys();
      if (resting.size > MAX_CLIENTS && longestKnown !== undefined) resting.delete(longestKnown);
    },
  };
}

/** A service account may be delegated in one customer's domain and not in another's. */
function clientsOf({
  grant,
  projectId,
  tenantId,
}: AccountCredentials): readonly [own: string, ...clock: string[]] {
  return grant.kind === "refresh-token"
    ? [`client ${projectId}`]
    : [`service account ${grant.clientEmail} ${tenantId}`, "clock"];
}
