import { createHmac } from "node:crypto";
import type { Change, ChangePosition } from "../core/change-store.ts";
import { describeChange, encodeCursor } from "../core/change-wire.ts";
import type { EpochMs } from "../core/clock.ts";
import type { TenantId } from "../core/ids.ts";

/*
 * What a webhook says, in the form of the Standard Webhooks specification (standardwebhooks.com), so that
 * receivers can check it with a library that they have already.
 */

/** What one request tells: changes, or that there are some which nobody can tell any more. */
export interface WebhookNews {
  readonly tenantId: TenantId;
  readonly from: ChangePosition;
  readonly to: ChangePosition;
  /** Undefined: those in between have been forgotten. */
  readonly changes: readonly Change[] | undefined;
}

/** A request, but for its address. */
export interface WebhookMessage {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Build and sign a message. The same news has the same id each time it is sent. */
export function createMessage(
  news: WebhookNews,
  { secret, now }: { readonly secret: string; readonly now: EpochMs },
): WebhookMessage {
  const { tenantId, from, to, changes } = news;
  const previous = encodeCursor(tenantId, from);
  const next = encodeCursor(tenantId, to);
  const body = JSON.stringify({
    schemaVersion: 1,
    type: changes === undefined ? "changes.forgotten" : "changes",
    timestamp: new Date(now).toISOString(),
    data: { tenant: tenantId, previous, next, changes: (changes ?? []).map(describeChange) },
  });
  const id = `msg_${previous}_${next}`;
  const seconds = String(Math.floor(now / 1_000));
  return {
    headers: {
      "content-type": "application/json",
      "user-agent": "ballast-webhooks",
      "webhook-id": id,
      "webhook-timestamp": seconds,
      "webhook-signature": `v1,${sign(secret, `${id}.${seconds}.${body}`)}`,
    },
    body,
  };
}

function sign(secret: string, text: string): string {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  return createHmac("sha256", key).update(text).digest("base64");
}
