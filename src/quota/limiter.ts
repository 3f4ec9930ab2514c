/**
 * Order and concurrency within one process: how many calls are under way, and who is next. It knows
 * nothing of the budget; the ledger does.
 *
 * Two pools of slots, one of them for interactive calls alone, and per pool and tenant a limiter that
 * lets few of a tenant's calls compete for the pool at once. Bottleneck keeps the queues; it has no
 * reservoir here and nothing is clustered.
 *
 * State, per call: waiting (for the tenant's limiter, then for the pool) → running → over. A call that
 * is cancelled while waiting is over at once; its place in Bottleneck's queue, which cannot be taken
 * back, is passed over when its turn comes.
 */
import type Bottleneck from "bottleneck";
import type { TenantId } from "../core/ids.ts";
import { QueueFull } from "../core/refusal.ts";
import type { RequestClass } from "../core/request.ts";
import { createPromptBottleneck } from "./prompt-bottleneck.ts";

export interface LimiterOptions {
  /** Calls under way at once in this process. */
  readonly slots: number;
  /** The part of the slots that only interactive calls may take, 0 to 1. */
  readonly interactiveShare: number;
  readonly slotsPerTenant: number;
  /** More waiting calls than this are refused with QueueFull. */
  readonly maxWaiting: number;
}

export interface SlotAsk {
  readonly tenantId: TenantId;
  readonly class: RequestClass;
  readonly signal: AbortSignal;
}

export interface Limiter {
  /** Runs `work` when a slot is free; throws QueueFull, or the signal's reason when cancelled before. */
  schedule<T>(ask: SlotAsk, work: () => Promise<T>): Promise<T>;
  waiting(): number;
  /** Tenants for which a limiter is kept. */
  tenants(): number;
}

/** Bottleneck's priorities: 0 goes first. */
const PRIORITY: Readonly<Record<RequestClass, number>> = {
  interactive: 0,
  push: 3,
  poll: 5,
  backfill: 7,
};

/** Limiters of tenants without a call are kept for a while, since a tenant's calls come in bursts. */
const MAX_IDLE_TENANTS = 64;

type PoolName = "interactive" | "background";

interface Pool {
  readonly name: PoolName;
  readonly slots: number;
  readonly limiter: Bottleneck;
  /** Waiting and running. */
  calls: number;
}

interface TenantLimiter {
  readonly limiter: Bottleneck;
  calls: number;
}

/** Nothing to close: it holds no timer and no socket. */
export function createLimiter(options: LimiterOptions): Limiter {
  const interactiveSlots = Math.max(1, Math.round(options.slots * options.interactiveShare));
  const interactive = createPool("interactive", interactiveSlots);
  const background = createPool("background", Math.max(1, options.slots - interactiveSlots));
  const tenants = new Map<string, TenantLimiter>();
  const idle = new Set<string>();
  let waiting = 0;

  function poolFor({ class: requestClass, tenantId }: SlotAsk): Pool {
    if (requestClass !== "interactive") return background;
    // Its own part first; what background work leaves unused is better than waiting, if it is free now.
    const tenantsCalls = tenants.get(keyOf(background, tenantId))?.calls ?? 0;
    const isFree = background.calls < background.slots && tenantsCalls < options.slotsPerTenant;
    return interactive.calls >= interactive.slots && isFree ? background : interactive;
  }

  function enter(key: string, pool: Pool): TenantLimiter {
    const existing = tenants.get(key);
    const tenant = existing ?? {
      limiter: createPromptBottleneck(options.slotsPerTenant).chain(pool.limiter),
      calls: 0,
    };
    tenants.set(key, tenant);
    idle.delete(key);
    tenant.calls += 1;
    pool.calls += 1;
    return tenant;
  }

  function leave(key: string, { tenant, pool }: { tenant: TenantLimiter; pool: Pool }): void {
    pool.calls -= 1;
    tenant.calls -= 1;
    if (tenant.calls > 0) return;
    idle.add(key);
    if (idle.size <= MAX_IDLE_TENANTS) return;
    const [longestIdle] = idle;
    if (longestIdle === undefined) return;
    idle.delete(longestIdle);
    tenants.delete(longestIdle);
  }

  async function schedule<T>(ask: SlotAsk, work: () => Promise<T>): Promise<T> {
    ask.signal.throwIfAborted();
    if (waiting >= options.maxWaiting) {
      throw new QueueFull({
        message: `${waiting} calls are waiting in this process, as many as it may hold; ask again later`,
        retryAfterMs: 1000,
      });
    }
    const pool = poolFor(ask);
    const key = keyOf(pool, ask.tenantId);
    const tenant = enter(key, pool);
    waiting += 1;
    const turn = createTurn<T>(ask.signal, () => {
      waiting -= 1;
    });
    const place = tenant.limiter.schedule({ priority: PRIORITY[ask.class] }, () => turn.take(work));
    place
      .finally(() => {
        leave(key, { tenant, pool });
      })
      .catch(turn.fail);
    return turn.result;
  }

  return { schedule, waiting: () => waiting, tenants: () => tenants.size };
}

function keyOf({ name }: Pool, tenantId: TenantId): string {
  return `${name}:${tenantId}`;
}

function createPool(name: PoolName, slots: number): Pool {
  return { name, slots, limiter: createPromptBottleneck(slots), calls: 0 };
}

interface Turn<T> {
  readonly result: Promise<T>;
  /** Never rejects: the caller, who gets the error by `result`, may be gone by then. */
  take(work: () => Promise<T>): Promise<void>;
  readonly fail: (error: unknown) => void;
}

/** One call's wait: ends, once, when its turn comes or when it is cancelled. */
function createTurn<T>(signal: AbortSignal, onWaitEnds: () => void): Turn<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let isWaiting = true;
  const endWait = (): void => {
    isWaiting = false;
    signal.removeEventListener("abort", onAbort);
    onWaitEnds();
  };
  const onAbort = (): void => {
    endWait();
    reject(abortReason(signal));
  };
  signal.addEventListener("abort", onAbort, { once: true });
  return {
    result: promise,
    take: async (work) => {
      if (!isWaiting) return;
      endWait();
      await work().then(resolve, reject);
    },
    fail: reject,
  };
}

function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error("Aborted", { cause: reason });
}
