import type { EpochMs } from "./clock.ts";
import type { AccountId, ProjectId } from "./ids.ts";

/** More accounts than this within `windowMs` are a wave: Google's trouble, or the OAuth client's, not theirs. */
export interface WaveLimits {
  readonly windowMs: number;
  readonly accounts: number;
  /** Of the project's connected accounts; the larger of the two holds. */
  readonly share: number;
  /** While accounts are held, one calendar of each asks again after so long. */
  readonly probeEveryMs: number;
}

/** Disconnecting accounts has stopped, until an operator resumes it. */
export interface GrantHold {
  readonly projectId: ProjectId;
  readonly since: EpochMs;
  /** Accounts whose credentials Google refused lately, and which are kept connected. */
  readonly failing: number;
}

/** `hold-began`: this report made it a wave; those that it had disconnected already are connected again. */
export type DeadGrantAnswer = "disconnected" | "known" | "held" | "hold-began";

/** What becomes of accounts whose credentials Google refuses: decided for the whole fleet, in the database. */
export interface DeadGrants {
  report(
    id: AccountId,
    report: { readonly reason: string; readonly now: EpochMs; readonly limits: WaveLimits },
  ): Promise<DeadGrantAnswer>;
  holds(now: EpochMs): Promise<readonly GrantHold[]>;
  /**
   * Disconnect again those whom Google refuses; until `until` however many they are. Written with its record.
   * False: nothing was held.
   */
  resume(
    projectId: ProjectId,
    by: {
      readonly actor: string;
      readonly reason: string;
      readonly now: EpochMs;
      readonly until: EpochMs;
    },
  ): Promise<boolean>;
}
