/**
 * Why a call to Google failed, in the words our policies decide by.
 *
 * One kind per decision, not per status code: a 403 can be a rate limit, an exhausted quota, a
 * missing scope or an API that is switched off, and each needs a different answer. Decided once, in
 * `google/classify-failure.ts`, by reason, then message (Google's own error guide lists both).
 */
export type Failure =
  /** 400: our request is wrong; sending it again cannot help. */
  | { readonly kind: "invalid-request"; readonly reason: string | undefined }
  /** 401: the access token is not accepted; a refreshed one may be. */
  | { readonly kind: "access-token-rejected" }
  /** 403/429 over a minute limit; `unknown` when the text names neither scope. */
  | {
      readonly kind: "rate-limited";
      readonly scope: "user" | "project" | "unknown";
      readonly retryAfterMs: number | undefined;
    }
  /** 403 quotaExceeded: Google's anti-abuse limit on an account's writes; lasts hours. */
  | { readonly kind: "usage-limit-exceeded" }
  /** 403 dailyLimitExceeded: a legacy project's day is used up. */
  | { readonly kind: "day-limit-exceeded" }
  /** 403 accessNotConfigured: the Calendar API is off in the project; an operator must act. */
  | { readonly kind: "api-not-enabled" }
  /** 403 insufficientPermissions: the account granted too little; it must reconnect. */
  | { readonly kind: "scope-missing" }
  /** 403 for good: not the organizer, not a calendar user, no access. */
  | { readonly kind: "forbidden"; readonly reason: string | undefined }
  /** 404, or 410 deleted: gone, or access lost. */
  | { readonly kind: "not-found" }
  /** 409: the id exists, or two writes met. */
  | { readonly kind: "conflict"; readonly reason: string | undefined }
  /** 412: the etag is not the current one. */
  | { readonly kind: "condition-not-met" }
  /** 410 fullSyncRequired: Google says that the sync token is dead (age or ACL change). */
  | { readonly kind: "sync-token-dead" }
  /** 400 at the sync token: dead too, perhaps; believed only the second time in a row. */
  | { readonly kind: "sync-token-suspect" }
  /** 400 at the page token: the listing cannot be continued, only begun again. */
  | { readonly kind: "page-token-dead" }
  /** 410 updatedMinTooLongAgo. */
  | { readonly kind: "updated-min-too-old" }
  /** 400 pushNotSupportedForRequestedResource: this calendar cannot be watched. */
  | { readonly kind: "push-not-supported" }
  /** 5xx, gateway HTML, or a connection that broke: upstream's trouble. */
  | { readonly kind: "upstream-unavailable"; readonly retryAfterMs: number | undefined }
  /** No complete answer within the deadline of the request. */
  | { readonly kind: "timed-out" }
  /** 2xx whose body is not what the operation promises: garbage, truncated, empty, or no token. */
  | { readonly kind: "malformed-response"; readonly detail: string }
  /** The body grew over the limit and was cut off; ask for smaller pages. */
  | { readonly kind: "response-too-large"; readonly limitBytes: number }
  /** Token endpoint, invalid_grant: the refresh token is dead; the account must reconnect. */
  | { readonly kind: "credentials-revoked" }
  /** Token endpoint, invalid_grant for a service account whose local clock is off. */
  | {
      readonly kind: "clock-skewed";
      /** How far this machine's clock is ahead of Google's, where the answer told. */
      readonly skewMs?: number;
    }
  /** Token endpoint, invalid_client or unauthorized_client: the project's fault; disconnects nobody. */
  | { readonly kind: "client-misconfigured"; readonly reason: string }
  /** Nothing above fits; never retried blindly, always reported. */
  | { readonly kind: "unrecognised"; readonly status: number; readonly reason: string | undefined };

export type FailureKind = Failure["kind"];

/** A stable code per failure kind: `GCAL_SYNC_TOKEN_DEAD`. Each has a section in docs/failure-modes.md. */
export type FailureCode = `GCAL_${string}`;

export function failureCode(kind: FailureKind): FailureCode {
  return `GCAL_${kind.toUpperCase().replaceAll("-", "_")}`;
}

/** A classified failure of one call. Everything above `google/` sees this and never a status code. */
export class CallFailed extends Error {
  override readonly name = "CallFailed";
  readonly code: FailureCode;
  readonly failure: Failure;
  readonly operation: string;

  constructor(failure: Failure, options: { readonly operation: string; readonly cause?: unknown }) {
    super(`${options.operation} failed: ${failure.kind}`, { cause: options.cause });
    this.code = failureCode(failure.kind);
    this.failure = failure;
    this.operation = options.operation;
  }
}
