import { Counter, Gauge, type Registry } from "@prometheus-io/client";
import type { EpochMs } from "../core/clock.ts";
import type { WebhookHealth } from "../core/webhook-store.ts";
import { METRIC_NAMES } from "./metric-names.ts";

type DeliveryOutcome = "delivered" | "failed" | "disabled" | "nothing" | "fenced-out" | "released";

/** How those who follow the changes are served. */
export interface ChangeMetrics {
  /** One request to a webhook, and the changes that its receiver took. */
  webhookSent(delivery: { readonly outcome: DeliveryOutcome; readonly changes: number }): void;
  changesForgotten(count: number): void;
  /** Requests of this process that wait for changes. */
  setChangeWaits(count: number): void;
  /** All webhooks, as last looked at in the database. */
  setWebhooks(health: WebhookHealth, now: EpochMs): void;
}

export function createChangeMetrics(registry: Registry): ChangeMetrics {
  const registers = [registry];
  const deliveries = new Counter({
    name: METRIC_NAMES.webhookDeliveries,
    help: "Requests to tenants' webhooks, by what became of them.",
    labelNames: ["outcome"] as const,
    registers,
  });
  const delivered = new Counter({
    name: METRIC_NAMES.webhookChanges,
    help: "Changes that webhooks' receivers have taken.",
    registers,
  });
  const forgotten = new Counter({
    name: METRIC_NAMES.changesForgotten,
    help: "Changes that were erased for their age.",
    registers,
  });
  const waits = new Gauge({
    name: METRIC_NAMES.changeWaits,
    help: "Requests that wait for changes, of this process.",
    registers,
  });
  const webhooks = new Gauge({
    name: METRIC_NAMES.webhooks,
    help: "Webhooks by state, as last counted in the database.",
    labelNames: ["state"] as const,
    registers,
  });
  const lag = new Gauge({
    name: METRIC_NAMES.webhookLag,
    help: "Age of the oldest change that a webhook, not disabled, has yet to deliver; 0: none.",
    registers,
  });
  return {
    webhookSent: ({ outcome, changes }) => {
      deliveries.inc({ outcome });
      if (outcome === "delivered") delivered.inc(changes);
    },
    changesForgotten: (count) => {
      forgotten.inc(count);
    },
    setChangeWaits: (count) => {
      waits.set(count);
    },
    setWebhooks: ({ byState, oldestWaitingAt }, now) => {
      for (const [state, count] of Object.entries(byState)) webhooks.set({ state }, count);
      lag.set(oldestWaitingAt === undefined ? 0 : Math.max(0, now - oldestWaitingAt) / 1_000);
    },
  };
}
