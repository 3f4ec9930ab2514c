import type { EpochMs } from "../core/clock.ts";
import type { Failure } from "../core/failure.ts";
import { parseErrorBody, type ErrorBody } from "./parse-error-body.ts";
import { parseRetryAfter } from "./retry-after.ts";

/** What came back instead of a success: everything a verdict may be based on. */
export interface ErrorAnswer {
  readonly upstream: "calendar" | "oauth-token";
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  /** As received; may be JSON, half of it, a gateway's HTML, or empty. */
  readonly bodyText: string;
  /** To turn a `Retry-After` date into a wait. */
  readonly now: EpochMs;
}

/**
 * Why an answer is not a success. Decided by reason, then message, and by status only where a status
 * has one meaning whoever sends it (408, 429, 5xx). What a gateway says in HTML under 401 to 412 is
 * `unrecognised`: it must not lose a calendar (404), a sync token (410) or an account (401).
 */
export function classifyFailure(answer: ErrorAnswer): Failure {
  const body = parseErrorBody(answer.bodyText);
  const facts: Facts = {
    status: answer.status,
    body,
    retryAfterMs: parseRetryAfter(answer.headers.get("retry-after"), answer.now),
  };
  const judged =
    answer.upstream === "oauth-token" ? judgeTokenAnswer(facts) : judgeApiAnswer(facts);
  return judged ?? judgeByChallenge(answer) ?? judgeByStatus(facts);
}

interface Facts {
  readonly status: number;
  readonly body: ErrorBody;
  readonly retryAfterMs: number | undefined;
}

type Verdict = (facts: Facts, reason: string) => Failure | undefined;

const fixed =
  (failure: Failure): Verdict =>
  () =>
    failure;
const withReason =
  (kind: "invalid-request" | "forbidden" | "conflict"): Verdict =>
  (_facts, reason) => ({ kind, reason });
const upstream: Verdict = ({ retryAfterMs }) => ({ kind: "upstream-unavailable", retryAfterMs });
/** I5: not even Google's own reason drops a sync token under another status than the documented one. */
const only =
  (status: number, verdict: Verdict): Verdict =>
  (facts, reason) =>
    facts.status === status ? verdict(facts, reason) : undefined;
/** A 5xx is upstream's trouble, whatever its body blames. */
const unlessServerError =
  (verdict: Verdict): Verdict =>
  (facts, reason) =>
    facts.status >= 500 ? undefined : verdict(facts, reason);

const overMinuteLimit: Verdict = ({ body, retryAfterMs }) =>
  namesDayLimit(body)
    ? { kind: "day-limit-exceeded" }
    : { kind: "rate-limited", scope: limitScope(body), retryAfterMs };

/** `quotaExceeded` is the limit on writes, unless its text is that of a minute or day limit. */
const quotaExceeded: Verdict = (facts, reason) =>
  limitScope(facts.body) !== "unknown" || namesDayLimit(facts.body)
    ? overMinuteLimit(facts, reason)
    : { kind: "usage-limit-exceeded" };

/** Reasons in the order in which they are looked for: an answer may carry several, the specific ones first. */
const API_REASONS: readonly (readonly [reasons: readonly string[], verdict: Verdict])[] = [
  [
    ["ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions", "insufficientScopes"],
    unlessServerError(fixed({ kind: "scope-missing" })),
  ],
  [
    ["accessNotConfigured", "SERVICE_DISABLED"],
    unlessServerError(fixed({ kind: "api-not-enabled" })),
  ],
  [["dailyLimitExceeded"], fixed({ kind: "day-limit-exceeded" })],
  [["quotaExceeded"], quotaExceeded],
  [["rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"], overMinuteLimit],
  [["fullSyncRequired"], only(410, fixed({ kind: "sync-token-dead" }))],
  [["updatedMinTooLongAgo"], only(410, fixed({ kind: "updated-min-too-old" }))],
  [["deleted"], only(410, fixed({ kind: "not-found" }))],
  [["notFound"], only(404, fixed({ kind: "not-found" }))],
  [["conditionNotMet"], only(412, fixed({ kind: "condition-not-met" }))],
  [["duplicate", "conflict", "alreadyExists"], unlessServerError(withReason("conflict"))],
  [["pushNotSupportedForRequestedResource"], fixed({ kind: "push-not-supported" })],
  [
    [
      "forbiddenForNonOrganizer",
      "notACalendarUser",
      "requiredAccessLevel",
      "cannotChangeOrganizer",
      "cannotChangeOrganizerOfInstance",
      "forbiddenForServiceAccounts",
      "forbidden",
    ],
    unlessServerError(withReason("forbidden")),
  ],
  [
    ["authError", "ACCESS_TOKEN_EXPIRED", "CREDENTIALS_MISSING"],
    unlessServerError(fixed({ kind: "access-token-rejected" })),
  ],
  [["backendError", "internalError", "serviceUnavailable", "transientError"], upstream],
];

/** Looked at when no reason is known; Google's own sentences, each specific enough to act on. */
const API_MESSAGES: readonly (readonly [message: RegExp, verdict: Verdict])[] = [
  [/^Calendar usage limits exceeded/i, fixed({ kind: "usage-limit-exceeded" })],
  [/Quota exceeded for quota metric|Rate Limit Exceeded/i, overMinuteLimit],
  [/has not been used in project .* before or it is disabled/i, fixed({ kind: "api-not-enabled" })],
  [/insufficient authentication scopes/i, fixed({ kind: "scope-missing" })],
  [/^Sync token is no longer valid/i, only(410, fixed({ kind: "sync-token-dead" }))],
  [/^Invalid Credentials$|^Login Required/i, fixed({ kind: "access-token-rejected" })],
];

function judgeApiAnswer(facts: Facts): Failure | undefined {
  const { body, status } = facts;
  // A 400 is judged by what it points at before its reason: `invalid` alone says too little.
  if (status === 400) {
    const atToken = tokenAtFault(body);
    if (atToken) return atToken;
  }
  for (const [reasons, verdict] of API_REASONS) {
    const reason = reasons.find((candidate) => body.reasons.includes(candidate));
    const failure = reason === undefined ? undefined : verdict(facts, reason);
    if (failure) return failure;
  }
  if (status >= 500) return undefined;
  for (const [message, verdict] of API_MESSAGES) {
    const failure = message.test(body.message) ? verdict(facts, "") : undefined;
    if (failure) return failure;
  }
  // Google itself calls the request bad: any of a long list of reasons, none of which a retry cures.
  return status === 400 && body.isGoogles
    ? { kind: "invalid-request", reason: body.reasons[0] }
    : undefined;
}

function tokenAtFault({ locations, message }: ErrorBody): Failure | undefined {
  if (locations.includes("syncToken") || /\bsync token\b/i.test(message)) {
    return { kind: "sync-token-suspect" };
  }
  if (locations.includes("pageToken") || /\bpage token\b/i.test(message)) {
    return { kind: "page-token-dead" };
  }
  return undefined;
}

const CLOCK_IS_OFF = /reasonable timeframe|iat and exp|issued in the future|used too early/i;
const KEY_IS_WRONG = /invalid jwt signature/i;

const TOKEN_ERRORS: Readonly<Record<string, Verdict>> = {
  invalid_grant: ({ body }, reason) => {
    if (CLOCK_IS_OFF.test(body.message)) return { kind: "clock-skewed" };
    // A service account's key that Google does not know is no account's fault: nobody is disconnected.
    if (KEY_IS_WRONG.test(body.message)) return { kind: "client-misconfigured", reason };
    return { kind: "credentials-revoked" };
  },
  invalid_client: (_facts, reason) => ({ kind: "client-misconfigured", reason }),
  unauthorized_client: (_facts, reason) => ({ kind: "client-misconfigured", reason }),
  deleted_client: (_facts, reason) => ({ kind: "client-misconfigured", reason }),
  disabled_client: (_facts, reason) => ({ kind: "client-misconfigured", reason }),
  unsupported_grant_type: (_facts, reason) => ({ kind: "client-misconfigured", reason }),
  invalid_request: withReason("invalid-request"),
  invalid_scope: withReason("invalid-request"),
  rate_limit_exceeded: overMinuteLimit,
  slow_down: overMinuteLimit,
  server_error: upstream,
  internal_failure: upstream,
  temporarily_unavailable: upstream,
};

/** RFC 6749 errors: `{"error": "invalid_grant", "error_description": …}`. A 5xx is never final. */
function judgeTokenAnswer(facts: Facts): Failure | undefined {
  if (facts.status >= 500) return undefined;
  for (const reason of facts.body.reasons) {
    const failure = TOKEN_ERRORS[reason]?.(facts, reason);
    if (failure) return failure;
  }
  return undefined;
}

/** A bare 401 with a bearer challenge says in its header what the body does not. */
function judgeByChallenge({ status, upstream: asked, headers }: ErrorAnswer): Failure | undefined {
  const challenge = headers.get("www-authenticate") ?? "";
  return status === 401 && asked === "calendar" && /\bbearer\b/i.test(challenge)
    ? { kind: "access-token-rejected" }
    : undefined;
}

function judgeByStatus({ status, body, retryAfterMs }: Facts): Failure {
  if (status >= 500) return { kind: "upstream-unavailable", retryAfterMs };
  if (status === 429) return { kind: "rate-limited", scope: limitScope(body), retryAfterMs };
  if (status === 408) return { kind: "upstream-unavailable", retryAfterMs };
  return { kind: "unrecognised", status, reason: body.reasons[0] };
}

/**
 * Both scopes come with the same reason: only the text, or the limit that the details name, tells
 * them apart.
 */
function limitScope({ message, quotaLimit }: ErrorBody): "user" | "project" | "unknown" {
  const limit = /limit '([^']*)'/i.exec(message)?.[1] ?? quotaLimit ?? "";
  if (/per\s*(?:minute|day|\d+ seconds)\s*per\s*user/i.test(limit)) return "user";
  if (/per\s*minute(?:\s*per\s*project)?$/i.test(limit)) return "project";
  return "unknown";
}

function namesDayLimit({ message, quotaLimit }: ErrorBody): boolean {
  const limit = /limit '([^']*)'/i.exec(message)?.[1] ?? quotaLimit ?? "";
  return /per\s*day(?:\s*per\s*project)?$/i.test(limit);
}
