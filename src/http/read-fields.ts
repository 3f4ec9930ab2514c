import { z } from "zod";
import { momentField, queryInteger } from "./api-fields.ts";

/** Below what the server gives a connection on which nothing moves. */
export const MOST_WAIT_MS = 15_000;

/** What every question about a range of time may say. */
export const rangeFields = {
  from: momentField.meta({ example: "2026-01-05T00:00:00Z" }),
  to: momentField.meta({
    example: "2026-01-12T00:00:00Z",
    description: "Before here; at most 400 days after `from`.",
  }),
  timeZone: z.string().min(1).max(64).optional().meta({
    description: "Where all-day events begin, instead of in the calendar's own zone.",
  }),
  maxAgeMs: queryInteger({ min: 0, max: 366 * 86_400_000 })
    .optional()
    .meta({
      description:
        "An older copy is refreshed while you wait, at most `refreshDeadlineMs`; the answer says what it got. A younger one counts as known whatever its state.",
    }),
  refreshDeadlineMs: queryInteger({ min: 0, max: MOST_WAIT_MS }).optional(),
} as const;
