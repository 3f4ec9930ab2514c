import type { FailureKind } from "../core/failure.ts";
import type { RefusalCode } from "../core/refusal.ts";
import type { Attribution, Operation } from "../core/request.ts";
import type { PermitOutcome, Upstream } from "./permit.ts";

/** One request, or one that was not sent, as metrics, rollups and the run record count it. */
export interface RequestRecord {
  readonly attribution: Attribution;
  readonly operation: Operation;
  readonly upstream: Upstream;
  readonly attempt: "first" | "retry";
  /** `refused`: we did not send it; `cancelled`: sent, and then nobody wanted the answer. */
  readonly outcome: Exclude<PermitOutcome["kind"], "unused"> | "refused" | "cancelled";
  readonly reason: FailureKind | RefusalCode | undefined;
  /** From the request line to the last byte; 0 when it was not sent. */
  readonly durationMs: number;
  /** From the first ask to the grant that was used, or to the refusal. */
  readonly permitWaitMs: number;
  /** Of the answer's body, uncompressed. */
  readonly bytes: number;
}

/** Told of every request once; must neither throw nor block. */
export interface RequestObserver {
  onRequest(record: RequestRecord): void;
}
