import type { ServerResponse } from "node:http";
import type { ApiAnswer } from "./api-call.ts";
import { send, sendTruncated } from "./exchange.ts";
import type { FaultAnswer } from "./fault-script.ts";
import { errorBody } from "./google-error.ts";
import type { ErrorDetail } from "./google-error.ts";
import { quotaRefusal } from "./quota.ts";

/** What a fault did, for the log. Status 0: none was sent. */
export interface FaultOutcome {
  readonly status: number;
  readonly reason: string;
}

/** What answering a fault needs to know of the request it strikes. */
export interface StruckRequest {
  readonly response: ServerResponse;
  readonly projectNumber: string;
  readonly isTokenRequest: boolean;
  /** The answer that would have been given; only some faults need it. */
  readonly honest: () => ApiAnswer;
}

const HTML = `<!DOCTYPE html>
<html lang=en><meta charset=utf-8><title>Error 502 (Server Error)!!1</title>
<p><b>502.</b> <ins>That’s an error.</ins>
<p>The server encountered a temporary error and could not complete your request.<p>Please try again in 30 seconds.  <ins>That’s all we know.</ins>
`;

/** Answer with a fault. Those that change what the honest answer *is* (token death, empty pages) are not answered here. */
export function answerFault(fault: FaultAnswer, struck: StruckRequest): FaultOutcome {
  const { response } = struck;
  // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- the default spoils an honest answer, whatever the kind
  switch (fault.kind) {
    case "error":
      return refuse(struck, errorDetail(fault));
    case "quota":
    case "limit":
      return refuse(struck, quotaDetail(fault, struck.projectNumber));
    case "html":
      send(response, { ...fault, body: HTML, contentType: "text/html; charset=UTF-8" });
      return { status: fault.status, reason: "html" };
    case "empty":
      send(response, { status: fault.status, body: "" });
      return { status: fault.status, reason: "empty" };
    case "hang":
      hang(response, fault.forMs);
      return { status: 0, reason: "hang" };
    case "reset":
      response.socket?.resetAndDestroy();
      return { status: 0, reason: "reset" };
    default:
      return spoil(fault.kind === "truncated" ? fault.bytes : undefined, fault.kind, struck);
  }
}

function errorDetail(fault: Extract<FaultAnswer, { kind: "error" }>): ErrorDetail {
  const { status, reason, domain, location, retryAfterSeconds } = fault;
  return {
    status,
    reason,
    message: fault.message ?? reason,
    ...(domain === undefined ? {} : { domain }),
    ...(location === undefined ? {} : { locationType: "parameter" as const, location }),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  };
}

function quotaDetail(
  fault: Extract<FaultAnswer, { kind: "quota" | "limit" }>,
  projectNumber: string,
): ErrorDetail {
  const retryAfterSeconds = fault.kind === "quota" ? fault.retryAfterSeconds : undefined;
  const detail: ErrorDetail =
    fault.scope === "writes"
      ? {
          status: 403,
          domain: "usageLimits",
          reason: "quotaExceeded",
          message: "Calendar usage limits exceeded.",
        }
      : quotaRefusal(
          fault.scope,
          { rejectionStatus: 403, userReason: "rateLimitExceeded" },
          projectNumber,
        );
  return retryAfterSeconds === undefined ? detail : { ...detail, retryAfterSeconds };
}

function refuse(struck: StruckRequest, detail: ErrorDetail): FaultOutcome {
  const body = struck.isTokenRequest
    ? JSON.stringify({ error: detail.reason, error_description: detail.message })
    : errorBody(detail);
  send(struck.response, {
    status: detail.status,
    body,
    retryAfterSeconds: detail.retryAfterSeconds,
  });
  return { status: detail.status, reason: detail.reason };
}

function hang(response: ServerResponse, forMs: number | undefined): void {
  if (forMs === undefined) return;
  const timer = setTimeout(() => {
    response.destroy();
  }, forMs);
  response.on("close", () => clearTimeout(timer));
}

/** Do what was asked, then spoil the answer on its way. */
function spoil(bytes: number | undefined, reason: string, struck: StruckRequest): FaultOutcome {
  const answer = struck.honest();
  const body = answer.body ?? "{}";
  if (bytes !== undefined) sendTruncated(struck.response, body, bytes);
  else if (reason === "no-sync-token") {
    const spoilt = body.replace(/"nextSyncToken":"[^"]*",?/, "").replace(/,\}$/, "}");
    send(struck.response, { ...answer, body: spoilt });
  } else {
    send(struck.response, { ...answer, body: `${body.slice(0, Math.ceil(body.length / 2))}<` });
  }
  return { status: answer.status, reason };
}
