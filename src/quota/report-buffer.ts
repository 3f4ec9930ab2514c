/** What became of permits, waiting to be told; bounded, alike ones added up. */
import { laneKey, type LaneReport } from "./ledger-lane.ts";

const MOST_KEPT = 2_000;
const MOST_TOLD_AT_ONCE = 100;

export interface ReportBuffer {
  readonly size: number;
  /** Whether the fleet should learn of it at once: a probe's outcome, or what slows or stops others. */
  readonly isUrgent: boolean;
  add(report: LaneReport): void;
  take(): readonly LaneReport[];
  /** They could not be told; they are told next time, as far as there is room. */
  giveBack(reports: readonly LaneReport[]): void;
}

export function createReportBuffer(): ReportBuffer {
  const kept = new Map<string, LaneReport>();
  let urgent = 0;

  const add = (report: LaneReport): void => {
    const key = reportKey(report);
    const same = kept.get(key);
    // Dropped only where figures suffer: a lost success earns no retry token, which is the safe side.
    if (same === undefined && kept.size >= MOST_KEPT && !isUrgent(report)) return;
    if (same === undefined && isUrgent(report)) urgent += 1;
    kept.set(key, same === undefined ? report : { ...report, count: same.count + report.count });
  };
  return {
    get size() {
      return kept.size;
    },
    get isUrgent() {
      return urgent > 0;
    },
    add,
    take: () => {
      const taken = [...kept].slice(0, MOST_TOLD_AT_ONCE);
      for (const [key, report] of taken) {
        kept.delete(key);
        if (isUrgent(report)) urgent -= 1;
      }
      return taken.map(([, report]) => report);
    },
    giveBack: (reports) => {
      for (const report of reports) add(report);
    },
  };
}

function isUrgent(report: LaneReport): boolean {
  const { kind } = report.outcome;
  return (
    report.isProbe || kind === "throttled" || kind === "writes-parked" || kind === "project-stopped"
  );
}

function reportKey(report: LaneReport): string {
  return `${laneKey(report.lane)}\u001F${String(report.isProbe)}\u001F${report.reason ?? ""}\u001F${JSON.stringify(report.outcome)}`;
}
