import type { EpochMs } from "./clock.ts";
import type { ProjectId } from "./ids.ts";

/** The last epoch of a project's ledger that any process set out to open. */
export interface EpochRecord {
  readonly number: number;
  readonly epoch: string;
  readonly openedAt: EpochMs;
  /** Set when its last asker closed it: nothing was granted after `sequence`. */
  readonly closed: { readonly at: EpochMs; readonly sequence: number } | undefined;
}

/** How much of a day is spent, as last written. */
export interface DayRecord {
  readonly dayStartedAt: EpochMs;
  readonly count: number;
  /** When it was read from the ledger, by the ledger's clock. */
  readonly ledgerAt: EpochMs;
}

/** What one consumer's requests of one kind came to since the last batch. */
export interface UsageRow {
  readonly tenantId: string;
  readonly consumer: string;
  readonly class: string;
  readonly operation: string;
  readonly attempt: string;
  readonly outcome: string;
  /** Why a request that was sent failed; empty where the outcome says it all. */
  readonly reason: string;
  readonly requests: number;
}

/**
 * What the database keeps of the ledger, so that Redis may lose everything (I9): which epochs there were, and
 * how much of the day is spent.
 */
export interface LedgerRecord {
  readEpoch(projectId: ProjectId): Promise<EpochRecord | undefined>;
  /**
   * Compare and set: records epoch `number` only if the last one is `after` (0: there is none).
   * False: another process was first.
   */
  beginEpoch(
    projectId: ProjectId,
    begin: {
      readonly after: number;
      readonly number: number;
      readonly epoch: string;
      readonly at: EpochMs;
    },
  ): Promise<boolean>;
  /** Only while `number` is still the last one. */
  closeEpoch(
    projectId: ProjectId,
    close: { readonly number: number; readonly at: EpochMs; readonly sequence: number },
  ): Promise<void>;
  /** The newest day's record. */
  readDay(projectId: ProjectId): Promise<DayRecord | undefined>;
  /** Within a day the count never falls, whoever writes last. */
  saveDay(projectId: ProjectId, day: DayRecord): Promise<void>;
}
