import {
  BreakerOpen,
  BudgetSpent,
  ClassNotAllowed,
  LedgerUnavailable,
  Paused,
  type Refused,
} from "../core/refusal.ts";
import type { LaneRefusal, RefusalLimit } from "./ledger-reply.ts";
import type { PermitAsk } from "./permit.ts";

const BUDGET_NAMES: Partial<Record<RefusalLimit, string>> = {
  park: "writes of this account are parked, since Google called its use excessive",
  throttled: "Google asked to wait",
  "retry-tokens": "the fleet's retry budget is empty",
  "writes-per-account": "the limit of writes per account is reached",
  "watch-and-stop": "the limit of watch and stop requests is reached",
  "user-minute": "the quota user's minute is full",
  "tenant-cap": "the tenant's cap is reached",
  "consumer-cap": "the consumer's cap is reached",
  "backfill-share": "the share of backfills is used",
  "project-minute": "the project's minute is full",
  pacing: "the class is paced",
  "fair-share": "other tenants are first",
  day: "the day's budget is spent for this class",
};

type Explain = (context: {
  readonly ask: PermitAsk;
  readonly request: string;
  readonly refusal: LaneRefusal;
  readonly until: string;
}) => Refused;

const budgetSpent: Explain = ({ request, refusal, until }) =>
  new BudgetSpent({
    message: `${request} was not sent: ${BUDGET_NAMES[refusal.limit] ?? refusal.limit}${until}`,
    retryAfterMs: refusal.waitMs,
  });

const notVouchedFor: Explain = ({ request, refusal, until }) =>
  new LedgerUnavailable({
    message: `${request} was not sent: the ledger does not vouch for this process yet (${refusal.limit})${until}`,
    retryAfterMs: refusal.waitMs,
  });

const EXPLANATIONS: Partial<Record<RefusalLimit, Explain>> = {
  pause: ({ request, refusal }) => {
    const [target, reason] = refusal.detail.split("\u001F");
    return new Paused({
      message: `${request} was not sent: ${target ?? "it"} is paused (${reason ?? ""}); see ballast pauses`,
      retryAfterMs: refusal.waitMs,
    });
  },
  stopped: ({ ask, request, refusal }) =>
    new Paused({
      message: `${request} was not sent: project ${ask.attribution.projectId} is stopped (${refusal.detail}); an operator must act`,
      retryAfterMs: refusal.waitMs,
    }),
  "class-not-allowed": ({ ask, request }) =>
    new ClassNotAllowed({
      message: `${request} was not sent: consumer ${ask.attribution.consumer} may not claim class ${ask.attribution.class}; allow it with ballast quota set consumer:${ask.attribution.consumer}`,
    }),
  breaker: ({ ask, request, refusal, until }) =>
    new BreakerOpen({
      message: `${request} was not sent: the breaker of ${ask.upstream} is open for the whole fleet${until}`,
      retryAfterMs: refusal.waitMs,
    }),
  settling: notVouchedFor,
  unattended: notVouchedFor,
};

/** The typed refusal for what the ledger said, with how long it is pointless to ask again. */
export function refusalFor(ask: PermitAsk, refusal: LaneRefusal | undefined): Refused {
  const { attribution: by, operation } = ask;
  const request = `${operation} of ${by.tenantId} (${by.class}, ${by.consumer})`;
  if (refusal === undefined) {
    return new BudgetSpent({
      message: `${request} was not sent: no permit came within ${ask.maxWaitMs} ms; ask again later or wait longer`,
    });
  }
  const until =
    refusal.waitMs === undefined ? "" : `; ask again in ${Math.ceil(refusal.waitMs)} ms`;
  const explain = EXPLANATIONS[refusal.limit] ?? budgetSpent;
  return explain({ ask, request, refusal, until });
}

/** The typed refusal while the ledger cannot be asked, or cannot vouch for the budget. */
export function unavailableFor(ask: PermitAsk, why: string, cause: unknown): LedgerUnavailable {
  return new LedgerUnavailable({
    message: `${ask.operation} of ${ask.attribution.tenantId} was not sent: the ledger cannot vouch for the budget (${why}); nothing is sent until it does`,
    cause,
  });
}
