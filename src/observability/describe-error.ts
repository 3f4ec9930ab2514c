import { scrubText } from "./scrub.ts";

/** What is logged of an error: chosen fields only. */
export interface ErrorDescription {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly kind?: string;
  readonly operation?: string;
  readonly retryAfterMs?: number;
  readonly stack?: string;
  readonly cause?: ErrorDescription;
  /** Of an AggregateError, the first few. */
  readonly errors?: readonly ErrorDescription[];
}

const MAX_CAUSES = 5;
const MAX_AGGREGATED = 3;
const MAX_MESSAGE = 1_000;

/**
 * An error and its causes by a whitelist. Google's client hangs the whole request on its errors (`config`,
 * `response`: authorization header, body with titles and addresses); nothing that is not named here gets out.
 */
export function describeError(error: unknown): ErrorDescription {
  return describe(error, 0);
}

function describe(error: unknown, depth: number): ErrorDescription {
  if (!(error instanceof Error)) return { name: "NotAnError", message: describeThrown(error) };
  const { cause } = error;
  return {
    name: error.name,
    message: clip(error.message),
    ...pickFields(error),
    // The innermost stack says where it began; each one above it is a page of the same frames.
    ...(cause === undefined && error.stack !== undefined ? { stack: frames(error.stack) } : {}),
    ...(cause !== undefined && depth < MAX_CAUSES ? { cause: describe(cause, depth + 1) } : {}),
    ...(error instanceof AggregateError && depth < MAX_CAUSES
      ? {
          errors: error.errors
            .slice(0, MAX_AGGREGATED)
            .map((one: unknown) => describe(one, depth + 1)),
        }
      : {}),
  };
}

function pickFields(error: Error): Partial<ErrorDescription> {
  const code = field(error, "code");
  const operation = field(error, "operation");
  const retryAfterMs = field(error, "retryAfterMs");
  const failure = field(error, "failure");
  const kind = typeof failure === "object" && failure !== null ? field(failure, "kind") : undefined;
  return {
    ...(typeof code === "string" || typeof code === "number" ? { code: clip(String(code)) } : {}),
    ...(typeof kind === "string" ? { kind } : {}),
    ...(typeof operation === "string" ? { operation: clip(operation) } : {}),
    ...(typeof retryAfterMs === "number" ? { retryAfterMs } : {}),
  };
}

function field(object: object, name: string): unknown {
  return name in object ? (Reflect.get(object, name) as unknown) : undefined;
}

/** Only the frames: the head of a stack repeats the message, and whatever the thrower put there. */
function frames(stack: string): string {
  const lines = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return scrubText(lines.slice(0, 12).join("\n"));
}

function describeThrown(value: unknown): string {
  return typeof value === "string"
    ? clip(value)
    : `a thrown ${value === null ? "null" : typeof value}`;
}

function clip(text: string): string {
  const scrubbed = scrubText(text);
  return scrubbed.length > MAX_MESSAGE ? `${scrubbed.slice(0, MAX_MESSAGE)}…` : scrubbed;
}
