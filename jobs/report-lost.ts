import type { Logger } from "../src/observability/logger.ts";
import type { Metrics } from "../src/observability/metrics.ts";
import type { FinishedRun } from "../src/queue/run-worker.ts";
import { discoverCalendars } from "./discover-calendars.ts";
import { refreshCalendar } from "./refresh-calendar.ts";

/** Say that calendars were lost, in the run that confirmed it: nothing is asked about them afterwards. */
export function reportLost(
  {
    logger,
    metrics,
  }: {
    readonly logger: Pick<Logger, "log">;
    readonly metrics: Pick<Metrics, "calendarsLost">;
  },
  { job, facts }: Pick<FinishedRun, "job" | "facts">,
): void {
  if (job === refreshCalendar.name && facts["state"] === "lost") {
    const { calendarId, code } = facts;
    metrics.calendarsLost("refused", 1);
    logger.log("warn", "Calendar is lost", { calendarId, code });
  }
  const { lost } = facts;
  if (job === discoverCalendars.name && typeof lost === "number" && lost > 0) {
    const { accountId } = facts;
    metrics.calendarsLost("gone-from-list", lost);
    logger.log("warn", "Calendars have gone from an account's list", { accountId, lost });
  }
}
