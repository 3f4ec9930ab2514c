import type { Metrics } from "../src/observability/metrics.ts";
import type { FinishedRun } from "../src/queue/run-worker.ts";
import { refreshCalendar } from "./refresh-calendar.ts";

type Refresh = Parameters<Metrics["refreshFinished"]>[0];

const OUTCOMES: readonly Refresh["outcome"][] = [
  "published",
  "postponed",
  "skipped",
  "fenced-out",
  "crashed",
];

/** Count a finished refresh in the metrics; other jobs are none of this. */
export function measureRefresh(metrics: Metrics, run: FinishedRun): void {
  const outcome = OUTCOMES.find((one) => one === run.outcome);
  if (run.job !== refreshCalendar.name || outcome === undefined) return;
  const { refresh, inserted, updated, deleted } = run.facts;
  metrics.refreshFinished({
    kind: refresh === "full" || refresh === "incremental" ? refresh : "none",
    outcome,
    durationMs: run.durationMs,
    eventsChanged: [inserted, updated, deleted].reduce<number>(
      (sum, count) => sum + (typeof count === "number" ? count : 0),
      0,
    ),
  });
}
