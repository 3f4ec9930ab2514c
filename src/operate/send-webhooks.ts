/**
 * Sends tenants' changes to their webhooks.
 *
 * State: how far the feed of all tenants was looked through, and when each webhook was looked at last: looks in
 * between cost what is new. The deliveries of this process that are on their way, at most `concurrency`; one per
 * tenant in all processes, by the claim on its row. Of each: claimed → read → posted → marked (delivered, failing, disabled)
 * | released (this process stops). A process that dies leaves a claim that ends by its time, and what may have
 * arrived is sent again.
 */
import type { ChangePosition, ChangeStore } from "../core/change-store.ts";
import { epochMs, type Clock } from "../core/clock.ts";
import type { WebhookClaim, WebhookStore } from "../core/webhook-store.ts";
import type { PostResult, PostWebhook } from "./post-webhook.ts";
import { createMessage, type WebhookNews } from "./webhook-message.ts";

export interface SendWebhooksOptions {
  /** Deliveries at once in this process. */
  readonly concurrency: number;
  /** Changes in one request. */
  readonly batch: number;
  /** Longer than reading, posting and marking take. */
  readonly leaseMs: number;
  readonly firstRetryMs: number;
  readonly mostRetryMs: number;
  /** A receiver that has taken nothing for so long is sent nothing more. */
  readonly giveUpAfterMs: number;
  /** How often every webhook is looked at: finds what is tried again, and what committed out of order. */
  readonly lookAtAllEveryMs: number;
}

/** How a delivery ended, in words from a closed set. */
export interface WebhookOutcome {
  readonly claim: WebhookClaim;
  readonly outcome: "delivered" | "failed" | "disabled" | "nothing" | "fenced-out" | "released";
  /** Changes that the receiver took. */
  readonly changes: number;
  /** Where the tenant's next request begins, when this one was taken. */
  readonly upTo?: ChangePosition;
  readonly reason?: string;
}

export interface SendWebhooksDeps {
  readonly webhooks: Pick<WebhookStore, "claimDue" | "markDelivered" | "markFailed" | "release">;
  readonly changes: Pick<ChangeStore, "read" | "head" | "newest">;
  readonly post: PostWebhook;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onOutcome: (outcome: WebhookOutcome) => void;
  /** The database could not be asked or told; the claim ends by its time. */
  readonly onError: (error: unknown) => void;
  /** A place is free again: look for what is due. */
  readonly onFree: () => void;
}

export interface WebhookSender {
  /** Claim what is due, up to the places that are free, and send it without being waited for. */
  look(): Promise<"took" | "full" | "idle">;
  /** Lets running deliveries end; those that have not when `signal` aborts are given back. */
  stop(signal: AbortSignal): Promise<void>;
}

/** More new changes than this, and it is cheaper to look at each webhook. */
const MOST_LOOKED_THROUGH = 5_000;

export function createWebhookSender(
  options: SendWebhooksOptions,
  deps: SendWebhooksDeps,
): WebhookSender {
  const { clock, webhooks, onOutcome, onError, onFree } = deps;
  const running = new Set<Promise<void>>();
  const hurry = new AbortController();
  const giveBack = (): void => hurry.abort();

  let lookedAt = 0;
  let lookAtAllAtMs = -Infinity;
  const lookAgainFrom = (position: number): void => {
    lookedAt = Math.min(lookedAt, position);
  };

  const run = async (claim: WebhookClaim): Promise<void> => {
    try {
      const outcome = await deliver(claim, { options, deps, signal: hurry.signal });
      // What came while it was on its way was passed over, as what its request had no room for.
      if (outcome.upTo !== undefined) lookAgainFrom(outcome.upTo);
      onOutcome(outcome);
    } catch (error) {
      onError(error);
    }
  };

  const claimSome = async (limit: number): Promise<readonly WebhookClaim[]> => {
    const newest = await deps.changes.newest();
    const after = lookedAt;
    const isWhole = clock.monotonicMs() >= lookAtAllAtMs || newest - after > MOST_LOOKED_THROUGH;
    if (!isWhole && newest <= after) return [];
    lookedAt = newest;
    const due = { now: clock.now(), limit, leaseMs: options.leaseMs };
    try {
      const claims = await webhooks.claimDue({ ...due, newsAfter: isWhole ? undefined : after });
      // With all places taken there may be more of them.
      if (claims.length >= limit) lookAgainFrom(after);
      else if (isWhole) lookAtAllAtMs = clock.monotonicMs() + options.lookAtAllEveryMs;
      return claims;
    } catch (error) {
      lookAgainFrom(after);
      throw error;
    }
  };

  return {
    async look() {
      const limit = options.concurrency - running.size;
      if (limit <= 0) return "full";
      const claims = await claimSome(limit);
      for (const claim of claims) {
        const delivery = run(claim).finally(() => {
          running.delete(delivery);
          onFree();
        });
        running.add(delivery);
      }
      return claims.length > 0 ? "took" : "idle";
    },
    async stop(signal) {
      signal.addEventListener("abort", giveBack, { once: true });
      if (signal.aborted) giveBack();
      await Promise.all(running);
      signal.removeEventListener("abort", giveBack);
    },
  };
}

interface Delivery {
  readonly options: SendWebhooksOptions;
  readonly deps: SendWebhooksDeps;
  readonly signal: AbortSignal;
}

async function deliver(claim: WebhookClaim, delivery: Delivery): Promise<WebhookOutcome> {
  const { webhooks, post, clock } = delivery.deps;
  const news = await readNews(claim, delivery);
  if (news === undefined) {
    await webhooks.release(claim);
    return { claim, outcome: "nothing", changes: 0 };
  }
  const { secret } = claim;
  if (secret === undefined) return fail(claim, delivery, { reason: "secret-unreadable" });
  const message = createMessage(news, { secret, now: clock.now() });
  let result: PostResult;
  try {
    result = await post({ url: claim.url, ...message }, delivery.signal);
  } catch (error) {
    if (!delivery.signal.aborted) throw error;
    await webhooks.release(claim);
    return { claim, outcome: "released", changes: 0 };
  }
  if (result.kind === "failed") return fail(claim, delivery, { reason: result.reason });
  const { status, retryAfterMs } = result;
  if (status >= 200 && status < 300) {
    const marked = await webhooks.markDelivered(claim, { position: news.to, now: clock.now() });
    const changes = news.changes?.length ?? 0;
    return marked === "marked"
      ? { claim, outcome: "delivered", changes, upTo: news.to }
      : { claim, outcome: "fenced-out", changes: 0 };
  }
  return fail(claim, delivery, { reason: `status-${String(status)}`, status, retryAfterMs });
}

async function readNews(
  claim: WebhookClaim,
  { options, deps }: Delivery,
): Promise<WebhookNews | undefined> {
  const { tenantId, position: from } = claim;
  const read = await deps.changes.read(tenantId, { after: from, limit: options.batch });
  if (read.kind === "forgotten") {
    const to = await deps.changes.head(tenantId);
    return { tenantId, from, to, changes: undefined };
  }
  const { changes, next: to } = read;
  return changes.length === 0 ? undefined : { tenantId, from, to, changes };
}

/** The receiver says that it will never take any more (Standard Webhooks). */
const GONE = 410;

async function fail(
  claim: WebhookClaim,
  { options, deps }: Delivery,
  failure: {
    readonly reason: string;
    readonly status?: number;
    readonly retryAfterMs?: number | undefined;
  },
): Promise<WebhookOutcome> {
  const { reason, retryAfterMs = 0 } = failure;
  const now = deps.clock.now();
  const failingForMs = now - (claim.failingSince ?? now);
  const disable = failure.status === GONE || failingForMs >= options.giveUpAfterMs;
  const backoffMs = Math.min(options.mostRetryMs, options.firstRetryMs * 2 ** claim.failures);
  const spreadMs = backoffMs * (0.75 + deps.random() / 2);
  const dueAt = epochMs(now + Math.max(spreadMs, Math.min(retryAfterMs, options.mostRetryMs)));
  const mark = { reason, dueAt: epochMs(Math.ceil(dueAt)), now, disable };
  if ((await deps.webhooks.markFailed(claim, mark)) === "fenced-out") {
    return { claim, outcome: "fenced-out", changes: 0 };
  }
  return { claim, outcome: disable ? "disabled" : "failed", changes: 0, reason };
}
