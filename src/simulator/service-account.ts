import { createVerify } from "node:crypto";
import { isRecord } from "./check-body.ts";
import type { ServiceAccount } from "./oauth.ts";

/** What a JWT bearer grant comes to. */
export type ServiceAccountGrant =
  | {
      readonly kind: "granted";
      readonly serviceAccount: ServiceAccount;
      /** The account it acts for. */
      readonly subject: string;
    }
  | { readonly kind: "refused"; readonly error: string; readonly description: string };

const MAX_CLOCK_SKEW_SECONDS = 300;

/** Check a signed assertion: a known service account, its signature, its times. */
export function readServiceAccountGrant(
  assertion: string,
  known: { readonly serviceAccounts: readonly ServiceAccount[]; readonly nowMs: number },
): ServiceAccountGrant {
  const [header = "", payload = "", signature = ""] = assertion.split(".");
  const claims = decode(payload);
  const serviceAccount = known.serviceAccounts.find((one) => one.email === claims["iss"]);
  if (!serviceAccount) return refused("invalid_grant", "Invalid grant: account not found");
  const verify = createVerify("RSA-SHA256").update(`${header}.${payload}`);
  if (!verify.verify(serviceAccount.publicKey, signature, "base64url")) {
    return refused("invalid_grant", "Invalid JWT Signature.");
  }
  const nowSeconds = known.nowMs / 1000;
  const [issuedAt, expiresAt] = [Number(claims["iat"]), Number(claims["exp"])];
  const isTimely =
    issuedAt <= nowSeconds + MAX_CLOCK_SKEW_SECONDS &&
    expiresAt >= nowSeconds - MAX_CLOCK_SKEW_SECONDS &&
    expiresAt - issuedAt <= 3600 + MAX_CLOCK_SKEW_SECONDS;
  if (!isTimely) {
    return refused(
      "invalid_grant",
      "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
    );
  }
  const subject = claims["sub"];
  return {
    kind: "granted",
    serviceAccount,
    subject: typeof subject === "string" ? subject : serviceAccount.email,
  };
}

function refused(error: string, description: string): ServiceAccountGrant {
  return { kind: "refused", error, description };
}

function decode(part: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}
