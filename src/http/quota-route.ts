import { z } from "zod";
import type { EpochMs } from "../core/clock.ts";
import type { UsageFailure, UsageTotal } from "../core/usage-store.ts";
import { iso, isoOrNull, moment, queryInteger } from "./api-fields.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";

const windowSchema = z.strictObject({ limit: z.number(), used: z.number(), left: z.number() });
const spender = {
  tenant: z.string(),
  consumer: z.string(),
  class: z.string(),
  attempt: z.string(),
  requests: z.number(),
} as const;

/** `GET /v1/quota` */
export const getQuota = defineRoute({
  method: "GET",
  path: "/v1/quota",
  summary: "How Google's budget stands, who used it, and when the day runs out. Names tenants.",
  access: { scope: "read", for: "operators" },
  query: z.strictObject({
    hours: queryInteger({ min: 1, max: 336 }).default(24).meta({
      description: "How far back who spent it is looked for.",
    }),
    limit: queryInteger({ min: 1, max: 100 }).default(10),
  }),
  answer: z.strictObject({
    schemaVersion: z.literal(1),
    at: moment,
    source: z.enum(["ledger", "database"]),
    minute: windowSchema.nullable(),
    day: windowSchema.extend({
      startedAt: moment,
      endsAt: moment,
      perMinute: z.number(),
      forecast: z.number(),
      exhaustedAt: moment.nullable(),
    }),
    retryTokens: z.number().nullable(),
    retryShare: z.number().nullable(),
    since: moment,
    spenders: z.array(z.strictObject(spender)),
    unsuccessful: z.array(z.strictObject({ ...spender, outcome: z.string(), reason: z.string() })),
  }),
  problems: [],
});

interface Window {
  readonly limit: number;
  readonly used: number;
  readonly left: number;
}

/** The budget as an operator asks for it. */
export interface QuotaView {
  readonly at: EpochMs;
  readonly source: "ledger" | "database";
  readonly minute: Window | undefined;
  readonly day: Window & {
    readonly startedAt: EpochMs;
    readonly endsAt: EpochMs;
    readonly perMinute: number;
    readonly forecast: number;
    readonly exhaustedAt: EpochMs | undefined;
  };
  readonly retryTokens: number | undefined;
  readonly retryShare: number | undefined;
  readonly since: EpochMs;
  readonly spenders: readonly UsageTotal[];
  readonly unsuccessful: readonly UsageFailure[];
}

/** What the quota's route needs. */
export interface QuotaRouteDeps {
  readonly readQuota: (options: {
    readonly hours: number;
    readonly mostSpenders: number;
  }) => Promise<QuotaView>;
}

/** The handler of the quota's route. */
export function createQuotaHandlers({ readQuota }: QuotaRouteDeps): {
  readonly getQuota: ApiHandler<typeof getQuota>;
} {
  return {
    async getQuota({ query: { hours, limit } }) {
      const view = await readQuota({ hours, mostSpenders: limit });
      const { day } = view;
      return {
        body: {
          schemaVersion: 1,
          at: iso(view.at),
          source: view.source,
          minute: view.minute === undefined ? null : toWindow(view.minute),
          day: {
            ...toWindow(day),
            startedAt: iso(day.startedAt),
            endsAt: iso(day.endsAt),
            perMinute: day.perMinute,
            forecast: day.forecast,
            exhaustedAt: isoOrNull(day.exhaustedAt),
          },
          retryTokens: view.retryTokens ?? null,
          retryShare: view.retryShare ?? null,
          since: iso(view.since),
          spenders: view.spenders.map(toSpender),
          unsuccessful: view.unsuccessful.map((one) =>
            Object.assign(toSpender(one), { outcome: one.outcome, reason: one.reason }),
          ),
        },
      };
    },
  };
}

function toWindow({ limit, used, left }: Window): { limit: number; used: number; left: number } {
  return { limit, used, left };
}

function toSpender(total: UsageTotal): z.input<z.ZodObject<typeof spender>> {
  const { tenantId, consumer, attempt, requests } = total;
  return { tenant: tenantId, consumer, class: total.class, attempt, requests };
}
