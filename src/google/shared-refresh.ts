/**
 * One token refresh per account in the whole fleet: whoever claims it refreshes, the others wait for what
 * it publishes.
 *
 * States: looking (a good token is there: done) → claiming → looking once more → refreshing → published | released; or, while
 * another process has the claim, waiting → looking. An exchange that cannot be asked is left out: better
 * one refresh more than none.
 */
import { epochMs, type Clock } from "../core/clock.ts";
import type { AccountId } from "../core/ids.ts";
import type { SharedToken, TokenClaim, TokenExchange } from "../core/token-exchange.ts";

export interface SharedRefreshDeps {
  readonly exchange: TokenExchange;
  readonly clock: Clock;
  /** 0 ≤ random() < 1; spreads those who wait. */
  readonly random: () => number;
}

export interface SharedRefreshAsk {
  readonly accountId: AccountId;
  readonly signal: AbortSignal;
  /** Whether this token will do: for this grant, not expiring, not the one that Google rejected. */
  readonly isGood: (token: SharedToken) => boolean;
  /** `afterAnother`: another process tried just now, and in vain; this try is a retry. */
  readonly refresh: (afterAnother: boolean) => Promise<Omit<SharedToken, "expiresAt">>;
}

/** A good token, by this process or another. Throws what `refresh` threw, or the signal's reason. */
export type SharedRefresh = (ask: SharedRefreshAsk) => Promise<SharedToken>;

/** A process that dies while it refreshes holds the others up no longer than this. */
const CLAIM_MS = 15_000;
/** The exchange is in memory, a millisecond away; slower than this, and it is left out. */
const EXCHANGE_PATIENCE_MS = 500;
const LOOK_AGAIN_MS = 50;

export function createSharedRefresh(deps: SharedRefreshDeps): SharedRefresh {
  const { exchange, clock, random } = deps;

  /** Undefined: it cannot be asked, or not in time. */
  async function orUndefined<T>(asked: Promise<T>): Promise<T | undefined> {
    const over = new AbortController();
    const late = clock.sleep(EXCHANGE_PATIENCE_MS, over.signal).then(
      () => undefined,
      () => undefined,
    );
    try {
      // An exchange that fails is left out, like one that is too late.
      return await Promise.race([asked.catch(() => undefined), late]);
    } finally {
      over.abort(OVER);
    }
  }

  async function refreshClaimed(
    ask: SharedRefreshAsk,
    { claim, afterAnother }: { readonly claim: TokenClaim | undefined; afterAnother: boolean },
  ): Promise<SharedToken> {
    try {
      const issued = await ask.refresh(afterAnother);
      const token = { ...issued, expiresAt: epochMs(clock.now() + issued.lifetimeMs) };
      if (claim) await orUndefined(claim.publish(token));
      return token;
    } catch (error) {
      if (claim) await orUndefined(claim.release());
      throw error;
    }
  }

  return async (ask) => {
    for (let hasWaited = false; ; hasWaited = true) {
      const known = await orUndefined(exchange.read(ask.accountId));
      if (known && ask.isGood(known)) return known;
      const answer = await orUndefined(exchange.claim(ask.accountId, CLAIM_MS));
      ask.signal.throwIfAborted();
      if (answer?.kind !== "taken") {
        const claim = answer?.claim;
        // Between the look and the claim another may have published and let go.
        const published = claim && (await orUndefined(exchange.read(ask.accountId)));
        if (published && ask.isGood(published)) {
          await orUndefined(claim.release());
          return published;
        }
        return refreshClaimed(ask, { claim, afterAnother: hasWaited });
      }
      await clock.sleep(LOOK_AGAIN_MS * (1 + random()), ask.signal);
    }
  };
}

/** Shared: it is thrown away by the sleep that it ends. */
const OVER = new Error("The exchange has answered");
