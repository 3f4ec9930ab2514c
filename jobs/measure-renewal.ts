import type { WatchReason } from "../src/core/channel-store.ts";
import type { Metrics } from "../src/observability/metrics.ts";
import type { FinishedRun } from "../src/queue/run-worker.ts";
import { renewChannel } from "./renew-channel.ts";

const REASONS: readonly WatchReason[] = ["first", "expiring", "silent"];

/** Count a channel that was opened in the metrics, by why; other jobs are none of this. */
export function measureRenewal(metrics: Metrics, run: FinishedRun): void {
  if (run.job !== renewChannel.name || run.outcome !== "opened") return;
  const reason = REASONS.find((one) => one === run.facts["reason"]);
  if (reason !== undefined) metrics.channelOpened(reason);
}
