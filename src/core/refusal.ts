/**
 * Our own refusals: a request that we did not send, as opposed to one that Google refused
 * (`CallFailed`). None of them counts as a failure of Google's, and none makes the next try a retry.
 */
export type RefusalCode =
  | "BALLAST_LEDGER_UNAVAILABLE"
  | "BALLAST_PAUSED"
  | "BALLAST_BUDGET_SPENT"
  | "BALLAST_BREAKER_OPEN"
  | "BALLAST_QUEUE_FULL"
  | "BALLAST_CLASS_NOT_ALLOWED"
  | "BALLAST_DEADLINE_PASSED"
  | "BALLAST_STORE_UNAVAILABLE"
  | "BALLAST_BATCH_REFUSED"
  | "BALLAST_UNATTRIBUTED";

interface RefusalDetails {
  /** What was refused and what to do next, for a person. */
  readonly message: string;
  /** How long it is pointless to ask again, in milliseconds; undefined: not known. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** Base of every refusal; `code` is stable, `retryAfterMs` says for how long. */
export abstract class Refused extends Error {
  abstract readonly code: RefusalCode;
  readonly retryAfterMs: number | undefined;

  constructor(details: RefusalDetails) {
    super(details.message, { cause: details.cause });
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** Redis cannot be asked, or has forgotten: nothing is sent until it can vouch for the budget again (I1, I9). */
export class LedgerUnavailable extends Refused {
  override readonly name = "LedgerUnavailable";
  readonly code = "BALLAST_LEDGER_UNAVAILABLE";
}

/** An operator paused this tenant, account, consumer, class, operation or project (I12). */
export class Paused extends Refused {
  override readonly name = "Paused";
  readonly code = "BALLAST_PAUSED";
}

/** A limit of the budget says not now; the message names the limit. */
export class BudgetSpent extends Refused {
  override readonly name = "BudgetSpent";
  readonly code = "BALLAST_BUDGET_SPENT";
}

/** The fleet's breaker is open: upstream is failing and only probes go out. */
export class BreakerOpen extends Refused {
  override readonly name = "BreakerOpen";
  readonly code = "BALLAST_BREAKER_OPEN";
}

/** This process has as many calls waiting as it may hold. */
export class QueueFull extends Refused {
  override readonly name = "QueueFull";
  readonly code = "BALLAST_QUEUE_FULL";
}

/** The consumer claims a class that its settings do not allow. */
export class ClassNotAllowed extends Refused {
  override readonly name = "ClassNotAllowed";
  readonly code = "BALLAST_CLASS_NOT_ALLOWED";
}

/** The call's deadline passed before it could be sent. */
export class DeadlinePassed extends Refused {
  override readonly name = "DeadlinePassed";
  readonly code = "BALLAST_DEADLINE_PASSED";
}

/** The database is slow or gone: what cannot be stored is not fetched (I13). */
export class StoreUnavailable extends Refused {
  override readonly name = "StoreUnavailable";
  readonly code = "BALLAST_STORE_UNAVAILABLE";
}

/** One batch request is n requests at Google; the batch path is not used. */
export class BatchRefused extends Refused {
  override readonly name = "BatchRefused";
  readonly code = "BALLAST_BATCH_REFUSED";
}

/** A request reached the choke point outside of any logical call (I2): a bug in the caller. */
export class Unattributed extends Refused {
  override readonly name = "Unattributed";
  readonly code = "BALLAST_UNATTRIBUTED";
}
