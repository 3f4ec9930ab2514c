import { randomBytes } from "node:crypto";

const BYTES = 32;

/** What a webhook's requests are signed with, in the form of the Standard Webhooks specification; shown once. */
export function makeWebhookSecret(): string {
  return `whsec_${randomBytes(BYTES).toString("base64")}`;
}
