import { z } from "zod";
import { epochMs } from "../src/core/clock.ts";
import { calendarId } from "../src/core/ids.ts";
import { defineJob } from "../src/queue/define-job.ts";
import { describeRenewal } from "../src/sync/describe-renewal.ts";
import type { JobContext } from "./context.ts";

/** Look after the push channel of one calendar: open, renew, replace or stop it. */
export const renewChannel = defineJob<JobContext>()({
  name: "renew-channel",
  payload: z.object({
    calendarId: z.string().regex(/^cal_[0-9A-Za-z_-]{1,64}$/),
    claim: z.number().int().nonnegative(),
  }),
  dedupeKey: (payload) => `renew-channel-${payload.calendarId}`,
  classOf: () => "poll",
  async run(context, payload, { signal }) {
    const outcome = await context.renewChannel(calendarId(payload.calendarId), {
      claim: epochMs(payload.claim),
      signal,
    });
    return describeRenewal(payload, outcome);
  },
});
