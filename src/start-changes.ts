import { tellTrouble, type Parts, type Starting } from "./app-parts.ts";
import { createForgetChanges } from "./operate/forget-changes.ts";
import { createPostWebhook } from "./operate/post-webhook.ts";
import { createWebhookSender, type WebhookOutcome } from "./operate/send-webhooks.ts";
import { startClaimer, type Claimer } from "./queue/claimer.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** A receiver has so long to answer; the claim outlives the request, its reading and its marking. */
const POST_WITHIN_MS = 10_000;
const SENDING = {
  concurrency: 16,
  batch: 100,
  leaseMs: 60_000,
  firstRetryMs: 5_000,
  mostRetryMs: 60 * MINUTE_MS,
  giveUpAfterMs: 3 * DAY_MS,
  lookAtAllEveryMs: 5_000,
} as const;
const SENDER_LOOKS = { busyRestMs: 50, idleRestMs: 500, backoffMs: 5_000 } as const;

/** Short transactions; between them others write. */
const FORGETTING = { portion: 500 } as const;
const FORGETTER_LOOKS = { busyRestMs: 50, idleRestMs: MINUTE_MS, backoffMs: MINUTE_MS } as const;

/** The part of a worker that tells tenants what changed, and forgets it after a while. */
export function startChanges(starting: Starting, parts: Pick<Parts, "store" | "metrics">): void {
  startForgetting(starting, parts);
  startWebhooks(starting, parts);
}

function startForgetting(
  { config, deps, started }: Starting,
  { store, metrics }: Pick<Parts, "store" | "metrics">,
): void {
  const { clock } = deps;
  const forgetter = startClaimer(FORGETTER_LOOKS, {
    clock,
    claim: createForgetChanges(
      { ...FORGETTING, keepMs: config.changesKeptDays * DAY_MS },
      {
        changes: store.changes,
        clock,
        onForgotten: (count) => {
          metrics.changesForgotten(count);
        },
      },
    ),
    onError: tellTrouble(deps, "Old changes could not be forgotten"),
  });
  started.push({ name: "forgetting", run: () => forgetter.stop() });
}

function startWebhooks(
  { config, deps, started }: Starting,
  { store, metrics }: Pick<Parts, "store" | "metrics">,
): void {
  const { clock, logger } = deps;
  let claimer: Claimer | undefined;
  const sender = createWebhookSender(SENDING, {
    webhooks: store.webhooks,
    changes: store.changes,
    post: createPostWebhook(
      { timeoutMs: POST_WITHIN_MS, allowPrivate: config.allowPrivateWebhooks },
      { clock },
    ),
    clock,
    random: Math.random,
    onOutcome: (outcome) => {
      metrics.webhookSent(outcome);
      tellOutcome(logger, outcome);
    },
    onError: tellTrouble(deps, "A webhook's delivery could not be marked"),
    onFree: () => claimer?.nudge(),
  });
  started.push({ name: "webhooks", run: (signal) => sender.stop(signal) });
  claimer = startClaimer(SENDER_LOOKS, {
    clock,
    claim: () => sender.look(),
    onError: tellTrouble(deps, "Webhooks could not be looked for"),
  });
  started.push({ name: "webhooks' claimer", run: () => claimer.stop() });
}

/** When it begins to fail, and when it is given up; the tries in between are counted. */
function tellOutcome(
  logger: Starting["deps"]["logger"],
  { outcome, claim, reason }: WebhookOutcome,
): void {
  const { tenantId } = claim;
  if (outcome === "failed" && claim.failures === 0) {
    logger.log("warn", "A webhook fails and is tried again", { tenantId, reason });
  }
  if (outcome === "delivered" && claim.failures > 0) {
    logger.log("info", "A webhook is taken again", { tenantId, failures: claim.failures });
  }
  if (outcome === "disabled") {
    logger.log("error", "A webhook is disabled: its receiver took nothing for days, or said so", {
      tenantId,
      reason,
      code: "BALLAST_WEBHOOK_DISABLED",
      next: "ballast webhooks show; mend the receiver; ballast webhooks resume",
    });
  }
}
