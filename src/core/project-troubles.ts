import type { EpochMs } from "./clock.ts";
import type { AccountId, ProjectId } from "./ids.ts";

/** Google refuses accounts for what is not their fault: the OAuth client's, a service account's, the clock's. */
export interface ProjectTrouble {
  readonly projectId: ProjectId;
  /** A failure's code. */
  readonly code: string;
  /** What Google said, or by how much a clock is off; never a secret. */
  readonly detail: string;
  readonly since: EpochMs;
  readonly lastAt: EpochMs;
}

/** What concerns a project and disconnects nobody: known to the whole fleet, told once while it lasts. */
export interface ProjectTroubles {
  /** `began`: nobody knew; the one who hears this tells. */
  report(
    accountId: AccountId,
    trouble: { readonly code: string; readonly detail: string; readonly now: EpochMs },
  ): Promise<"began" | "known">;
  /** Those that somebody ran into lately: each is asked about again every few minutes while it lasts. */
  list(now: EpochMs): Promise<readonly ProjectTrouble[]>;
}
