import { runnable, type RunnableJob } from "../src/queue/define-job.ts";
import type { JobContext } from "./context.ts";
import { discoverCalendars } from "./discover-calendars.ts";
import { refreshCalendar } from "./refresh-calendar.ts";
import { renewChannel } from "./renew-channel.ts";

/** Every kind of job this build knows. A job that is not listed here is never run. */
export const JOBS: readonly RunnableJob<JobContext>[] = [
  runnable(refreshCalendar),
  runnable(discoverCalendars),
  runnable(renewChannel),
];
