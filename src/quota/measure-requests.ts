import type { Metrics } from "../observability/metrics.ts";
import type { RequestObserver, RequestRecord } from "./request-observer.ts";

/** Counts every request in the metrics of this process; ids stay out of labels. */
export function measureRequests(metrics: Metrics): RequestObserver {
  return {
    onRequest(record) {
      const wasSent = record.outcome !== "refused";
      metrics.requestFinished({
        operation: record.operation,
        class: record.attribution.class,
        attempt: record.attempt,
        outcome: outcomeOf(record),
        reason: record.reason ?? "none",
        durationMs: wasSent ? record.durationMs : undefined,
      });
      metrics.permitWaited({
        class: record.attribution.class,
        outcome: wasSent ? "granted" : "refused",
        waitMs: record.permitWaitMs,
      });
    },
  };
}

function outcomeOf({ outcome }: RequestRecord): "succeeded" | "failed" | "refused" {
  if (outcome === "refused" || outcome === "succeeded") return outcome;
  return "failed";
}
