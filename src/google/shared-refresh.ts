/**
 * One token refresh per account in the whole fleet: whoever claims it refreshes, the others wait for what
 * it publishes.
 *
 * States: looking (a good token is there: done) → claiming → looking once more → refreshing → published | released; or, while
 * another process has the claim, waiting → looking. An exchange that cannot be asked is left out: better
 * one refresh more than none.
 */
import { epochMs, type Clock } from "../core/clock.ts";
import type { Grant } from "../core/credentials-source.ts";
import type { SharedToken, TokenClaim, TokenExchange } from "../core/token-exchange.ts";

export interface SharedRefreshDeps {
  readonly exchange: TokenExchange;
  readonly clock: Clock;
  /** 0 ≤ random() < 1; spreads those who wait. */
  readonly random: () => number;
}

export interface SharedRefreshAsk {
  readonly grant: Grant;
  readonly signal: AbortSignal;
  /** Whether this token will do: not expiring, not the one that Google rejected. */
  readonly isGood: (token: SharedToken) => boolean;
  /** `afterAnother`: another process tried just now, and in vain; this try is a retry. */
  readonly refresh: (afterAnother: boolean) => Promise<FreshToken>;
}

/** What Google has just issued. */
export interface FreshToken extends Omit<SharedToken, "expiresAt"> {
  /** What Google put in the grant's place. */
  readonly newGrant?: Grant | undefined;
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

  /** `UNREACHABLE`: it cannot be asked, or not in time. */
  async function orUnreachable<T>(asked: Promise<T>): Promise<T | typeof UNREACHABLE> {
    const over = new AbortController();
    const leftOut = (): typeof UNREACHABLE => UNREACHABLE;
    const late = clock
      .sleep(EXCHANGE_PATIENCE_MS, over.signal)
      .then(readWhatCame)
      .then(leftOut, leftOut);
    try {
      // An exchange that fails is left out, like one that is too late.
      return await Promise.race([asked.catch(leftOut), late]);
    } finally {
      over.abort(OVER);
    }
  }

  async function refreshClaimed(
    ask: SharedRefreshAsk,
    { claim, afterAnother }: { readonly claim: TokenClaim | undefined; afterAnother: boolean },
  ): Promise<SharedToken> {
    try {
      const { newGrant, ...issued } = await ask.refresh(afterAnother);
      const token = { ...issued, expiresAt: epochMs(clock.now() + issued.lifetimeMs) };
      if (claim) await orUnreachable(claim.publish(token, newGrant));
      return token;
    } catch (error) {
      if (claim) await orUnreachable(claim.release());
      throw error;
    }
  }

  return async (ask) => {
    for (let hasWaited = false; ; hasWaited = true) {
      const known = await orUnreachable(exchange.read(ask.grant));
      if (isUsable(ask, known)) return known;
      const answer =
        known === UNREACHABLE
          ? UNREACHABLE
          : await orUnreachable(exchange.claim(ask.grant, CLAIM_MS));
      ask.signal.throwIfAborted();
      if (answer === UNREACHABLE) {
        return refreshClaimed(ask, { claim: undefined, afterAnother: hasWaited });
      }
      if (answer.kind === "claimed") {
        const { claim } = answer;
        // Between the look and the claim another may have published and let go.
        const published = await orUnreachable(exchange.read(ask.grant));
        if (isUsable(ask, published)) {
          await orUnreachable(claim.release());
          return published;
        }
        return refreshClaimed(ask, { claim, afterAnother: hasWaited });
      }
      await clock.sleep(LOOK_AGAIN_MS * (1 + random()), ask.signal);
    }
  };
}

/** Where this process stood still itself, the answer is there already, unread. */
function readWhatCame(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

const UNREACHABLE: unique symbol = Symbol("The exchange cannot be asked");

/** Shared: it is thrown away by the sleep that it ends. */
const OVER = new Error("The exchange has answered");

function isUsable(
  { isGood }: SharedRefreshAsk,
  token: SharedToken | undefined | typeof UNREACHABLE,
): token is SharedToken {
  return token !== undefined && token !== UNREACHABLE && isGood(token);
}
