import { z } from "zod";

const latency = z.discriminatedUnion("distribution", [
  z.strictObject({ distribution: z.literal("fixed"), ms: z.number().min(0) }),
  z.strictObject({
    distribution: z.literal("uniform"),
    minMs: z.number().min(0),
    maxMs: z.number().min(0),
  }),
  z.strictObject({
    distribution: z.literal("exponential"),
    meanMs: z.number().positive(),
    maxMs: z.number().positive().optional(),
  }),
  z.strictObject({
    distribution: z.literal("lognormal"),
    medianMs: z.number().positive(),
    sigma: z.number().positive(),
    maxMs: z.number().positive().optional(),
  }),
]);

const answer = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("error"),
    status: z.number().int().min(300).max(599),
    reason: z.string(),
    message: z.string().optional(),
    domain: z.string().optional(),
    location: z.string().optional(),
    retryAfterSeconds: z.number().min(0).optional(),
  }),
  z.strictObject({
    kind: z.literal("html"),
    status: z.number().int().min(200).max(599).default(502),
    retryAfterSeconds: z.number().min(0).optional(),
  }),
  z.strictObject({ kind: z.literal("empty"), status: z.number().int().min(200).max(599) }),
  z.strictObject({ kind: z.literal("latency"), latency }),
  z.strictObject({ kind: z.literal("hang"), forMs: z.number().positive().optional() }),
  z.strictObject({ kind: z.literal("reset") }),
  z.strictObject({ kind: z.literal("truncated"), bytes: z.number().int().min(0).default(40) }),
  z.strictObject({ kind: z.literal("malformed") }),
  z.strictObject({ kind: z.literal("token-death") }),
  z.strictObject({ kind: z.literal("empty-page") }),
  z.strictObject({ kind: z.literal("no-sync-token") }),
  z.strictObject({
    kind: z.literal("quota"),
    scope: z.enum(["project", "quota-user", "day", "writes"]),
    retryAfterSeconds: z.number().min(0).optional(),
  }),
  z.strictObject({
    kind: z.literal("limit"),
    scope: z.enum(["project", "quota-user"]),
    perWindow: z.number().int().min(0),
    windowSeconds: z.number().positive().default(60),
  }),
  z.strictObject({ kind: z.literal("drop") }),
  z.strictObject({ kind: z.literal("duplicate") }),
]);

const rule = z.strictObject({
  name: z.string().optional(),
  match: z
    .strictObject({
      /** `events.list`, `events.*`, `oauth.token`, `push.deliver`, or a list of such. */
      operation: z.union([z.string(), z.array(z.string())]).optional(),
      account: z.string().optional(),
      calendar: z.string().optional(),
      probability: z.number().min(0).max(1).optional(),
      /** Since the script was installed. */
      fromMs: z.number().min(0).optional(),
      toMs: z.number().positive().optional(),
      /** Repeat `fromMs`…`toMs` at this interval. */
      everyMs: z.number().positive().optional(),
      /** At most so many times. */
      times: z.number().int().positive().optional(),
    })
    .default({}),
  answer,
});

/** A fault script: rules in order; delays add up, the first rule with another answer decides. */
export const faultScript = z.strictObject({ faults: z.array(rule) });

/** A fault script as people write it. */
export type FaultScript = z.input<typeof faultScript>;
/** One rule of a fault script. */
export type FaultRule = z.output<typeof rule>;
/** What a rule does. */
export type FaultAnswer = z.output<typeof answer>;
/** How long a delay takes. */
export type Latency = z.output<typeof latency>;
