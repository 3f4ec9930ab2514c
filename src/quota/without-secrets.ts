import { scrubText } from "../observability/scrub.ts";

/** Enough of a message to know it by; a gateway's page of HTML is not worth more. */
const LONGEST_MESSAGE = 300;

/** Causes nest two or three deep; the bound only guards against a cycle. */
const DEEPEST_CAUSE = 8;

/** The error and what caused it, outermost first. */
export function causesOf(error: unknown): unknown[] {
  const causes: unknown[] = [];
  let current = error;
  while (current !== undefined && current !== null && causes.length < DEEPEST_CAUSE) {
    causes.push(current);
    current = current instanceof Error ? current.cause : undefined;
  }
  return causes;
}

/**
 * The same error without what client libraries hang on it: gaxios' errors quote the whole request, the
 * bearer token, refresh token and client secret included, and redact only part of it. An error that
 * carries no request is returned as it is.
 */
export function withoutSecrets(error: unknown): unknown {
  if (!causesOf(error).some(quotesRequest)) return error;
  if (!(error instanceof Error)) return new Error("A client library threw something else");
  const clean = new Error(scrubText(error.message.slice(0, LONGEST_MESSAGE)));
  clean.name = error.name;
  if (error.stack !== undefined) clean.stack = framesOf(error.stack, clean);
  return clean;
}

function quotesRequest(error: unknown): boolean {
  return (
    typeof error === "object" &&
    error !== null &&
    ("config" in error || "response" in error || "request" in error)
  );
}

/** The frames alone: a stack begins with the whole message. */
function framesOf(stack: string, { name, message }: Error): string {
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return [`${name}: ${message}`, ...frames].join("\n");
}
