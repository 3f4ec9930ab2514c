/**
 * How often the HTTP API may be asked, by token, by tenant, and by a tenant's consumer.
 *
 * State: a bucket for each of them, filled anew as time passes; at most MOST_BUCKETS, the longest
 * untouched forgotten first (it is full again soon). Of this process alone: docs/decisions.
 */
import type { Clock } from "../core/clock.ts";
import type { TenantId } from "../core/ids.ts";
import { HttpProblem } from "./http-problem.ts";
import type { Caller } from "./verify-token.ts";

/** Requests a minute; as many may come at once after a quiet minute. */
export interface RouteLimits {
  readonly token: number;
  readonly tenant: number;
  readonly consumer: number;
}

export interface RateLimits {
  /** Count a request of a token, and of the tenant where the token is a tenant's; throws the 429. */
  charge(caller: Caller, scope: string): void;
  /** Count an operator's request against the tenant it turned out to be for; nothing for a tenant's token. */
  chargeTarget(caller: Caller, scope: string, tenantId: TenantId): void;
}

const MOST_BUCKETS = 30_000;
const MINUTE_MS = 60_000;

interface Bucket {
  readonly tokens: number;
  readonly atMs: number;
}

interface Charge {
  readonly key: string;
  readonly perMinute: number;
  readonly whose: string;
}

export function createRateLimits(
  limits: RouteLimits,
  deps: { readonly clock: Pick<Clock, "monotonicMs"> },
): RateLimits {
  const buckets = new Map<string, Bucket>();

  function filled({ key, perMinute }: Charge, nowMs: number): number {
    const bucket = buckets.get(key);
    if (bucket === undefined) return perMinute;
    return Math.min(perMinute, bucket.tokens + ((nowMs - bucket.atMs) * perMinute) / MINUTE_MS);
  }

  function take(charges: readonly Charge[]): void {
    const nowMs = deps.clock.monotonicMs();
    // Nothing is taken unless all of them have one: a refused request costs its tenant nothing.
    for (const charge of charges) {
      const tokens = filled(charge, nowMs);
      if (tokens < 1) throw tooMany(charge, tokens);
    }
    for (const charge of charges) {
      const tokens = filled(charge, nowMs) - 1;
      buckets.delete(charge.key);
      buckets.set(charge.key, { tokens, atMs: nowMs });
    }
    for (const oldest of buckets.keys()) {
      if (buckets.size <= MOST_BUCKETS) break;
      buckets.delete(oldest);
    }
  }

  function ofTenant(caller: Caller, scope: string, tenantId: TenantId): readonly Charge[] {
    const consumer = JSON.stringify([scope, "consumer", tenantId, caller.name]);
    return [
      {
        key: JSON.stringify([scope, "tenant", tenantId]),
        perMinute: limits.tenant,
        whose: "the tenant",
      },
      { key: consumer, perMinute: limits.consumer, whose: `${caller.name} for the tenant` },
    ];
  }

  return {
    charge(caller, scope) {
      const key = JSON.stringify([scope, "token", caller.tokenId]);
      const own = { key, perMinute: limits.token, whose: "this token" };
      const { tenantId } = caller;
      take(tenantId === undefined ? [own] : [own, ...ofTenant(caller, scope, tenantId)]);
    },
    chargeTarget(caller, scope, tenantId) {
      if (caller.tenantId === undefined) take(ofTenant(caller, scope, tenantId));
    },
  };
}

function tooMany({ perMinute, whose }: Charge, tokens: number): HttpProblem {
  return new HttpProblem("too-many-requests", {
    detail: `At most ${String(perMinute)} a minute for ${whose}. Asking again for the same calendar is not needed: it is refreshed once.`,
    retryAfterSeconds: Math.max(1, Math.ceil(((1 - tokens) * MINUTE_MS) / perMinute / 1_000)),
  });
}
