import { z } from "zod";
import { accountId } from "../src/core/ids.ts";
import { REQUEST_CLASSES } from "../src/core/request.ts";
import { defineJob } from "../src/queue/define-job.ts";
import { describeDiscovery } from "../src/sync/describe-outcome.ts";
import type { JobContext } from "./context.ts";

/** Learn which calendars an account has now. */
export const discoverCalendars = defineJob<JobContext>()({
  name: "discover-calendars",
  payload: z.object({
    accountId: z.string().regex(/^acc_[0-9A-Za-z_-]{1,64}$/),
    class: z.enum(REQUEST_CLASSES),
  }),
  dedupeKey: (payload) => `discover-calendars-${payload.accountId}`,
  classOf: (payload) => payload.class,
  async run(context, payload, { signal }) {
    const outcome = await context.discoverCalendars(accountId(payload.accountId), {
      class: payload.class,
      signal,
    });
    return describeDiscovery(payload, outcome);
  },
});
