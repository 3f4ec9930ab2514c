/**
 * Requests that wait for something new in a tenant's feed.
 *
 * State: who waits, by tenant; a look at the database every `lookEveryMs` while anybody does, one question for
 * all of them. Commits of this process wake at once; a look finds those of others, and what was missed. Each
 * wait ends by news, by its time, by its signal, or when this is closed, and says nothing but that it ended.
 */
import type { ChangeNews, ChangePosition, ChangeStore } from "../core/change-store.ts";
import type { Clock } from "../core/clock.ts";
import type { TenantId } from "../core/ids.ts";
import { HttpProblem } from "./http-problem.ts";

export interface WaitOptions {
  readonly lookEveryMs: number;
  /** Of one token at once: more gain nothing. */
  readonly perToken: number;
  /** In this process, a part of the connections that it holds. */
  readonly most: number;
}

export interface WaitDeps {
  readonly changes: Pick<ChangeStore, "waiting">;
  readonly changeNews: ChangeNews;
  readonly clock: Pick<Clock, "sleep">;
  readonly onError: (error: unknown) => void;
  /** Told how many wait now. */
  readonly onCount: (waiting: number) => void;
}

/** What is waited for. */
export interface AwaitedChange {
  readonly tenantId: TenantId;
  readonly after: ChangePosition;
  readonly tokenId: string;
}

export interface ChangeWaits {
  /** `over`: it may be worth reading again. Throws a 429 or 503 when too many wait already. */
  wait(
    what: AwaitedChange,
    until: { readonly waitMs: number; readonly signal: AbortSignal },
  ): Promise<"over" | "closing">;
  /** Ends all waits; from here on none begins. */
  close(): Promise<void>;
}

interface Waiting extends AwaitedChange {
  readonly over: AbortController;
}

export function createChangeWaits(options: WaitOptions, deps: WaitDeps): ChangeWaits {
  const { clock, changes, onError } = deps;
  const waiting = new Set<Waiting>();
  const closing = new AbortController();
  const isClosing = (): boolean => closing.signal.aborted;
  let looking: Promise<void> | undefined;

  const wake = (tenants: readonly TenantId[]): void => {
    if (waiting.size === 0) return;
    const woken = new Set(tenants);
    for (const one of waiting) if (woken.has(one.tenantId)) one.over.abort();
  };
  const unsubscribe = deps.changeNews.subscribe(wake);

  const look = async (): Promise<void> => {
    while (waiting.size > 0) {
      if (!(await sleepUnlessAborted(clock, options.lookEveryMs, closing.signal))) break;
      try {
        wake(await changes.waiting(positionsOf(waiting)));
      } catch (error) {
        onError(error);
      }
    }
    looking = undefined;
  };

  return {
    async wait(what, { waitMs, signal }) {
      if (isClosing()) return "closing";
      refuseTooMany(waiting, what, options);
      const one: Waiting = { ...what, over: new AbortController() };
      waiting.add(one);
      deps.onCount(waiting.size);
      looking ??= look();
      const ends = AbortSignal.any([signal, one.over.signal, closing.signal]);
      await sleepUnlessAborted(clock, waitMs, ends);
      waiting.delete(one);
      deps.onCount(waiting.size);
      return isClosing() ? "closing" : "over";
    },
    async close() {
      unsubscribe();
      closing.abort();
      await looking;
    },
  };
}

/** Who is furthest behind stands for its tenant: all of them had read to the end when they began to wait. */
function positionsOf(waiting: ReadonlySet<Waiting>): ReadonlyMap<TenantId, ChangePosition> {
  const positions = new Map<TenantId, ChangePosition>();
  for (const { tenantId, after } of waiting) {
    positions.set(tenantId, Math.min(after, positions.get(tenantId) ?? after));
  }
  return positions;
}

function refuseTooMany(
  waiting: ReadonlySet<Waiting>,
  { tokenId }: AwaitedChange,
  { perToken, most }: WaitOptions,
): void {
  const own = [...waiting].filter((one) => one.tokenId === tokenId).length;
  if (own >= perToken) {
    throw new HttpProblem("too-many-requests", {
      detail: `${String(perToken)} requests of this token wait for changes already: one is enough, and is told of all. Or ask without wait.`,
      retryAfterSeconds: 1,
    });
  }
  if (waiting.size >= most) {
    throw new HttpProblem("overloaded", {
      detail: "As many requests wait for changes as may. Ask without wait, or in a moment.",
      retryAfterSeconds: 1,
    });
  }
}

/** False: it was aborted. */
async function sleepUnlessAborted(
  clock: Pick<Clock, "sleep">,
  durationMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await clock.sleep(durationMs, signal);
    return true;
  } catch (error) {
    if (!signal.aborted) throw error;
    return false;
  }
}
