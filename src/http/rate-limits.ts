/**
 * How often the HTTP API may be asked, by token, by tenant, and by a tenant's consumer.
 *
 * State: a bucket for each of them, filled anew as time passes; at most MOST_BUCKETS, the longest
 * untouched forgotten first (it is full again soon). Of this process alone: docs/decisions.
 */
import type { Clock } from "../core/clock.ts";
import type { TenantId } from "../core/ids.ts";
import type { Access } from "./access.ts";
import { HttpProblem } from "./http-problem.ts";
import type { Caller } from "./verify-token.ts";

/** Requests a minute; as many may come at once after a quiet minute. The scopes are counted apart. */
export interface RouteLimits {
  readonly token: number;
  readonly tenant: number;
  readonly consumer: number;
}

export interface RateLimits {
  /**
   * Count a request of a token, and of the tenant where the token is a tenant's; throws the 429. `cost`: a
   * question about many things counts as many; one unless given.
   */
  charge(caller: Caller, scope: Access["scope"], cost?: number): void;
  /** Count an operator's request against the tenant it turned out to be for; nothing for a tenant's token. */
  chargeTarget(caller: Caller, scope: Access["scope"], tenantId: TenantId): void;
}

const MOST_BUCKETS = 30_000;
/** A booking page asks a thousand times a second, and is answered from memory; what is written is another matter. */
const TIMES: Readonly<Record<Access["scope"], number>> = { read: 100, refresh: 1, operate: 1 };
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

  function take(charges: readonly Charge[], cost: number): void {
    const nowMs = deps.clock.monotonicMs();
    // Nothing is taken unless all of them have enough: a refused request costs its tenant nothing.
    for (const charge of charges) {
      const tokens = filled(charge, nowMs);
      const missing = costFor(charge, cost) - tokens;
      if (missing > 0) throw tooMany(charge, missing);
    }
    for (const charge of charges) {
      const tokens = filled(charge, nowMs) - costFor(charge, cost);
      buckets.delete(charge.key);
      buckets.set(charge.key, { tokens, atMs: nowMs });
    }
    for (const oldest of buckets.keys()) {
      if (buckets.size <= MOST_BUCKETS) break;
      buckets.delete(oldest);
    }
  }

  function ofTenant(caller: Caller, scope: Access["scope"], tenantId: TenantId): readonly Charge[] {
    const times = TIMES[scope];
    return [
      {
        key: JSON.stringify([scope, "tenant", tenantId]),
        perMinute: limits.tenant * times,
        whose: "the tenant",
      },
      {
        key: JSON.stringify([scope, "consumer", tenantId, caller.name]),
        perMinute: limits.consumer * times,
        whose: `${caller.name} for the tenant`,
      },
    ];
  }

  return {
    charge(caller, scope, cost = 1) {
      const key = JSON.stringify([scope, "token", caller.tokenId]);
      const own = { key, perMinute: limits.token * TIMES[scope], whose: "this token" };
      const { tenantId } = caller;
      take(tenantId === undefined ? [own] : [own, ...ofTenant(caller, scope, tenantId)], cost);
    },
    chargeTarget(caller, scope, tenantId) {
      if (caller.tenantId === undefined) take(ofTenant(caller, scope, tenantId), 1);
    },
  };
}

/** A question that costs more than a minute's worth is asked once a minute, not never. */
function costFor({ perMinute }: Charge, cost: number): number {
  return Math.min(cost, perMinute);
}

function tooMany({ perMinute, whose }: Charge, missing: number): HttpProblem {
  return new HttpProblem("too-many-requests", {
    detail: `At most ${String(perMinute)} a minute for ${whose}. Asking for the same refresh again is not needed: it is one refresh.`,
    retryAfterSeconds: Math.max(1, Math.ceil((missing * MINUTE_MS) / perMinute / 1_000)),
  });
}
