import type { Failure } from "../core/failure.ts";

/** No complete answer in time; the request may well have arrived. */
const TIMEOUTS = new Set([
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "ETIMEDOUT",
  "ESOCKETTIMEDOUT",
  "TimeoutError",
]);

/** The network between us and Google, or Google's end of it. */
const BROKEN_CONNECTION =
  /^(?:ECONN(?:RESET|REFUSED|ABORTED)|EPIPE|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ENETDOWN|EADDRNOTAVAIL|UND_ERR_(?:SOCKET|CONNECT_TIMEOUT|CLOSED|DESTROYED|INFO|RES_CONTENT_LENGTH_MISMATCH)|HPE_.*|ERR_(?:TLS|SSL)_.*|EPROTO|CERT_.*|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE|Z_BUF_ERROR)$/;

/**
 * Why a request brought no answer at all; undefined when the error is not the network's: the
 * caller's abort, one of our refusals, a bug. Reads codes along the chain of causes, since undici
 * wraps what happened.
 */
export function classifyThrown(error: unknown): Failure | undefined {
  const codes = codesOf(error);
  if (codes.some((code) => TIMEOUTS.has(code))) return { kind: "timed-out" };
  if (codes.some((code) => BROKEN_CONNECTION.test(code))) {
    return { kind: "upstream-unavailable", retryAfterMs: undefined };
  }
  if (codes.includes("Z_DATA_ERROR")) {
    return { kind: "malformed-response", detail: "the body does not decompress" };
  }
  return undefined;
}

/** Causes nest two or three deep; the bound only guards against a cycle. */
const DEEPEST_CAUSE = 8;

function codesOf(error: unknown): string[] {
  const codes: string[] = [];
  let current = error;
  for (let depth = 0; depth < DEEPEST_CAUSE && current instanceof Error; depth += 1) {
    const code: unknown = "code" in current ? current.code : undefined;
    codes.push(current.name);
    if (typeof code === "string") codes.push(code);
    current = current.cause;
  }
  return codes;
}
