import type { Refused } from "../../src/core/refusal.ts";
import type {
  Permit,
  PermitAsk,
  PermitBroker,
  PermitOutcome,
  Upstream,
} from "../../src/quota/permit.ts";

/** A broker that grants everything at once and remembers what it was asked and told. */
export interface GrantingBroker extends PermitBroker {
  readonly asks: PermitAsk[];
  readonly reports: { readonly permit: Permit; readonly outcome: PermitOutcome }[];
  readonly openedBreakers: { readonly projectId: string; readonly upstream: Upstream }[];
  /** The next asks are refused with these, in order. */
  readonly refusals: Refused[];
  /** Applied to the next permit and then forgotten. */
  nextPermit: Partial<Permit> | undefined;
}

/** For tests alone: it knows no limit. `useByMs` is how long its permits hold. */
export function createGrantingBroker({ useByMs = 500 } = {}): GrantingBroker {
  const broker: GrantingBroker = {
    asks: [],
    reports: [],
    openedBreakers: [],
    refusals: [],
    nextPermit: undefined,
    acquire: (ask) => {
      broker.asks.push(ask);
      const refusal = broker.refusals.shift();
      if (refusal) return Promise.reject(refusal);
      const permit: Permit = {
        ask,
        useByMonotonicMs: performance.now() + useByMs,
        isProbe: false,
        ...broker.nextPermit,
      };
      broker.nextPermit = undefined;
      return Promise.resolve(permit);
    },
    report: (permit, outcome) => {
      broker.reports.push({ permit, outcome });
    },
    openBreaker: (projectId, upstream) => {
      broker.openedBreakers.push({ projectId, upstream });
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
  return broker;
}
