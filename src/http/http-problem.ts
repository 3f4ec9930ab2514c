import { QuestionRefused, type QuestionProblem } from "../core/calendar-reads.ts";
import { Refused } from "../core/refusal.ts";
import { BeingRemoved } from "../core/removal-store.ts";

/** Every way in which a request to our HTTP API can fail; stable, for programs to decide by. */
export type ProblemCode =
  | "bad-request"
  | "invalid-parameter"
  | "invalid-body"
  | "body-too-large"
  | "unsupported-media-type"
  | "token-missing"
  | "token-unknown"
  | "scope-missing"
  | "operators-only"
  | "route-unknown"
  | "unknown-tenant"
  | "unknown-account"
  | "unknown-calendar"
  | "unknown-webhook"
  | "changes-forgotten"
  | "calendar-not-refreshable"
  | "reconnect-impossible"
  | "being-removed"
  | Exclude<QuestionProblem, "too-many-calendars">
  | "too-many-requests"
  | "store-unavailable"
  | "overloaded"
  | "internal";

/** Every code there is, with its status and title. */
export const PROBLEMS: Readonly<
  Record<ProblemCode, { readonly status: number; readonly title: string }>
> = {
  "bad-request": { status: 400, title: "The request is malformed" },
  "invalid-parameter": { status: 400, title: "The path or the query is not what this route takes" },
  "range-empty": { status: 400, title: "The range does not end after it begins" },
  "range-too-long": { status: 400, title: "The range is too long" },
  "bad-time-zone": { status: 400, title: "There is no such time zone" },
  "bad-cursor": { status: 400, title: "The cursor is not one of this route's" },
  "answer-too-large": { status: 400, title: "The answer would be too large" },
  "invalid-body": { status: 400, title: "The body is not what this route takes" },
  "body-too-large": { status: 413, title: "The body is too large" },
  "unsupported-media-type": { status: 415, title: "The body must be application/json" },
  "token-missing": { status: 401, title: "A bearer token is required" },
  "token-unknown": { status: 401, title: "The bearer token is not known" },
  "scope-missing": { status: 403, title: "The token may not do this" },
  "operators-only": { status: 403, title: "Only an operator's token may do this" },
  "route-unknown": { status: 404, title: "There is no such route" },
  "unknown-tenant": { status: 404, title: "There is no such tenant" },
  "unknown-account": { status: 404, title: "There is no such account" },
  "unknown-calendar": { status: 404, title: "There is no such calendar" },
  "unknown-webhook": { status: 404, title: "The tenant has no webhook" },
  "changes-forgotten": { status: 410, title: "These changes are kept no longer" },
  "calendar-not-refreshable": { status: 409, title: "The calendar cannot be refreshed now" },
  "reconnect-impossible": { status: 409, title: "A page cannot reconnect this account" },
  "being-removed": { status: 409, title: "It is being removed" },
  "too-many-requests": { status: 429, title: "Too many requests" },
  "store-unavailable": { status: 503, title: "The database cannot be used right now" },
  overloaded: { status: 503, title: "Too much waits here already" },
  internal: { status: 500, title: "Something went wrong here" },
};

/** A request that ends with a problem document (RFC 9457) instead of what was asked for. */
export class HttpProblem extends Error {
  override readonly name = "HttpProblem";
  readonly code: ProblemCode;
  readonly retryAfterSeconds: number | undefined;
  /** Where to go on, where the problem is that one cannot go on from here. */
  readonly next: string | undefined;

  constructor(
    code: ProblemCode,
    options: {
      readonly detail: string;
      readonly retryAfterSeconds?: number;
      readonly next?: string;
      readonly cause?: unknown;
    },
  ) {
    super(options.detail, { cause: options.cause });
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.next = options.next;
  }
}

/** The document and its status. Holds what we wrote ourselves only: no stack, no cause, no driver's words. */
export function describeProblem(
  problem: HttpProblem,
  requestId: string,
): { readonly status: number; readonly body: Readonly<Record<string, unknown>> } {
  const { status, title } = PROBLEMS[problem.code];
  return {
    status,
    body: {
      type: `urn:ballast:problem:${problem.code}`,
      title,
      status,
      detail: problem.message,
      code: problem.code,
      requestId,
      ...(problem.next === undefined ? {} : { next: problem.next }),
    },
  };
}

/** Whatever a route threw, as a problem; what is not known by name is `internal` and says nothing more. */
export function asProblem(error: unknown): HttpProblem {
  if (error instanceof HttpProblem) return error;
  if (error instanceof BeingRemoved) {
    return new HttpProblem("being-removed", { detail: error.message, cause: error });
  }
  if (error instanceof QuestionRefused) {
    const code = error.code === "too-many-calendars" ? "invalid-parameter" : error.code;
    return new HttpProblem(code, { detail: error.message, cause: error });
  }
  if (error instanceof Refused && error.code === "BALLAST_STORE_UNAVAILABLE") {
    return new HttpProblem("store-unavailable", {
      detail: "Nothing was changed. Try again after the time in Retry-After.",
      retryAfterSeconds: Math.ceil((error.retryAfterMs ?? 1_000) / 1_000),
      cause: error,
    });
  }
  if (error instanceof Refused && error.code === "BALLAST_QUEUE_FULL") {
    return new HttpProblem("overloaded", {
      detail:
        "This process holds as many requests as it may. Try again after the time in Retry-After.",
      retryAfterSeconds: 1,
      cause: error,
    });
  }
  return fastifyProblem(error) ?? internalProblem(error);
}

function internalProblem(cause: unknown): HttpProblem {
  const detail = "The service's log has the reason under this request id.";
  return new HttpProblem("internal", { detail, cause });
}

/** Fastify's own refusals, by its codes: https://fastify.dev/docs/latest/Reference/Errors/ */
function fastifyProblem(error: unknown): HttpProblem | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  switch (error.code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return new HttpProblem("body-too-large", {
        detail: "At most 64 KiB are read.",
        cause: error,
      });
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new HttpProblem("unsupported-media-type", {
        detail: "Send the body as content-type: application/json.",
        cause: error,
      });
    case "FST_ERR_CTP_EMPTY_JSON_BODY":
    case "FST_ERR_CTP_INVALID_JSON_BODY":
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return new HttpProblem("invalid-body", { detail: "The body is not JSON.", cause: error });
    default:
      return "statusCode" in error && error.statusCode === 400
        ? new HttpProblem("bad-request", { detail: "The request cannot be read.", cause: error })
        : undefined;
  }
}
