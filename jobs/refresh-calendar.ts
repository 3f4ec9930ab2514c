import { z } from "zod";
import { calendarId } from "../src/core/ids.ts";
import { REQUEST_CLASSES } from "../src/core/request.ts";
import { defineJob } from "../src/queue/define-job.ts";
import { describeRefresh } from "../src/sync/describe-outcome.ts";
import type { JobContext } from "./context.ts";

/** Bring one calendar up to date. Whether and when to try again is the calendar's row's business, not the job's. */
export const refreshCalendar = defineJob<JobContext>()({
  name: "refresh-calendar",
  payload: z.object({
    calendarId: z.string().regex(/^cal_[0-9A-Za-z_-]{1,64}$/),
    class: z.enum(REQUEST_CLASSES),
  }),
  dedupeKey: (payload) => `refresh-calendar-${payload.calendarId}`,
  classOf: (payload) => payload.class,
  async run(context, payload, { signal }) {
    const outcome = await context.refreshCalendar(calendarId(payload.calendarId), {
      class: payload.class,
      signal,
    });
    return describeRefresh(payload, outcome);
  },
});
