import { describe, expect, test } from "vitest";
import { epochMs } from "../../src/core/clock.ts";
import type { Failure } from "../../src/core/failure.ts";
import { classifyFailure, type ErrorAnswer } from "../../src/google/classify-failure.ts";

const NOW = epochMs(Date.UTC(2026, 10, 23, 12, 0, 0));

interface Answer {
  readonly upstream?: ErrorAnswer["upstream"];
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

function classify({ upstream = "calendar", status, body = "", headers = {} }: Answer): Failure {
  return classifyFailure({
    upstream,
    status,
    headers: new Headers(headers),
    bodyText: typeof body === "string" ? body : JSON.stringify(body),
    now: NOW,
  });
}

function googles(
  code: number,
  reason: string,
  more: { domain?: string; message?: string; location?: string; locationType?: string } = {},
): unknown {
  const { domain = "global", message = "Some message.", ...where } = more;
  return { error: { errors: [{ domain, reason, message, ...where }], code, message } };
}

const minuteText = (limit: string): string =>
  `Quota exceeded for quota metric 'Queries' and limit '${limit}' of service 'calendar-json.googleapis.com' for consumer 'project_number:123456789'.`;

const withLimit = (quotaLimit: string): unknown => ({
  error: {
    code: 429,
    message: "Resource has been exhausted.",
    status: "RESOURCE_EXHAUSTED",
    details: [
      {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        reason: "RATE_LIMIT_EXCEEDED",
        metadata: { quota_limit: quotaLimit },
      },
    ],
  },
});

const token = (status: number, body: unknown, headers = {}): Failure =>
  classify({ upstream: "oauth-token", status, body, headers });

const retryAfter = (value: string): unknown =>
  classify({ status: 503, headers: { "retry-after": value } });

const HTML_502 =
  "<!DOCTYPE html>\n<html lang=en>\n<title>Error 502 (Server Error)!!1</title>\n<p>That's an error.";

describe("an answer is classified by its reason, row by row of Google's table", () => {
  const rows: readonly (readonly [name: string, answer: Answer, failure: Failure])[] = [
    [
      "400 timeRangeEmpty",
      { status: 400, body: googles(400, "timeRangeEmpty", { location: "timeMax" }) },
      { kind: "invalid-request", reason: "timeRangeEmpty" },
    ],
    [
      "400 invalid",
      { status: 400, body: googles(400, "invalid") },
      { kind: "invalid-request", reason: "invalid" },
    ],
    [
      "400 with a reason never seen before",
      { status: 400, body: googles(400, "eventTypeRestriction") },
      { kind: "invalid-request", reason: "eventTypeRestriction" },
    ],
    [
      "401 authError",
      { status: 401, body: googles(401, "authError", { message: "Invalid Credentials" }) },
      { kind: "access-token-rejected" },
    ],
    [
      "403 rateLimitExceeded, the project's minute",
      {
        status: 403,
        body: googles(403, "rateLimitExceeded", {
          domain: "usageLimits",
          message: minuteText("Queries per minute"),
        }),
      },
      { kind: "rate-limited", scope: "project", retryAfterMs: undefined },
    ],
    [
      "403 rateLimitExceeded, the user's minute",
      {
        status: 403,
        body: googles(403, "rateLimitExceeded", {
          domain: "usageLimits",
          message: minuteText("Queries per minute per user"),
        }),
      },
      { kind: "rate-limited", scope: "user", retryAfterMs: undefined },
    ],
    [
      "429 userRateLimitExceeded with the project's text: the text decides, not the reason",
      {
        status: 429,
        body: googles(429, "userRateLimitExceeded", { message: minuteText("Queries per minute") }),
      },
      { kind: "rate-limited", scope: "project", retryAfterMs: undefined },
    ],
    [
      "403 userRateLimitExceeded with an unrecognised text",
      { status: 403, body: googles(403, "userRateLimitExceeded", { message: "Slow down." }) },
      { kind: "rate-limited", scope: "unknown", retryAfterMs: undefined },
    ],
    [
      "403 rateLimitExceeded, a limit per day",
      {
        status: 403,
        body: googles(403, "rateLimitExceeded", { message: minuteText("Queries per day") }),
      },
      { kind: "day-limit-exceeded" },
    ],
    [
      "403 quotaExceeded",
      {
        status: 403,
        body: googles(403, "quotaExceeded", {
          domain: "usageLimits",
          message: "Calendar usage limits exceeded.",
        }),
      },
      { kind: "usage-limit-exceeded" },
    ],
    [
      "403 quotaExceeded with a minute limit's text parks nobody",
      {
        status: 403,
        body: googles(403, "quotaExceeded", { message: minuteText("Queries per minute per user") }),
      },
      { kind: "rate-limited", scope: "user", retryAfterMs: undefined },
    ],
    [
      "403 dailyLimitExceeded",
      { status: 403, body: googles(403, "dailyLimitExceeded", { domain: "usageLimits" }) },
      { kind: "day-limit-exceeded" },
    ],
    [
      "403 accessNotConfigured, whose domain is usageLimits",
      { status: 403, body: googles(403, "accessNotConfigured", { domain: "usageLimits" }) },
      { kind: "api-not-enabled" },
    ],
    [
      "403 insufficientPermissions",
      { status: 403, body: googles(403, "insufficientPermissions") },
      { kind: "scope-missing" },
    ],
    [
      "403 ACCESS_TOKEN_SCOPE_INSUFFICIENT in the details beats forbidden in the errors",
      {
        status: 403,
        body: {
          error: {
            code: 403,
            message: "Request had insufficient authentication scopes.",
            status: "PERMISSION_DENIED",
            errors: [{ domain: "global", reason: "forbidden", message: "Insufficient" }],
            details: [
              {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                reason: "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
              },
            ],
          },
        },
      },
      { kind: "scope-missing" },
    ],
    [
      "403 forbiddenForNonOrganizer",
      { status: 403, body: googles(403, "forbiddenForNonOrganizer", { domain: "calendar" }) },
      { kind: "forbidden", reason: "forbiddenForNonOrganizer" },
    ],
    [
      "403 notACalendarUser",
      { status: 403, body: googles(403, "notACalendarUser", { domain: "calendar" }) },
      { kind: "forbidden", reason: "notACalendarUser" },
    ],
    [
      "403 forbidden",
      { status: 403, body: googles(403, "forbidden") },
      { kind: "forbidden", reason: "forbidden" },
    ],
    ["404 notFound", { status: 404, body: googles(404, "notFound") }, { kind: "not-found" }],
    [
      "409 duplicate",
      { status: 409, body: googles(409, "duplicate") },
      { kind: "conflict", reason: "duplicate" },
    ],
    [
      "409 conflict",
      { status: 409, body: googles(409, "conflict") },
      { kind: "conflict", reason: "conflict" },
    ],
    [
      "410 fullSyncRequired",
      {
        status: 410,
        body: googles(410, "fullSyncRequired", {
          domain: "calendar",
          message: "Sync token is no longer valid, a full sync is required.",
          locationType: "parameter",
          location: "syncToken",
        }),
      },
      { kind: "sync-token-dead" },
    ],
    [
      "400 invalid at the sync token",
      {
        status: 400,
        body: googles(400, "invalid", { locationType: "parameter", location: "syncToken" }),
      },
      { kind: "sync-token-suspect" },
    ],
    [
      "400 invalid at the page token",
      {
        status: 400,
        body: googles(400, "invalid", { locationType: "parameter", location: "pageToken" }),
      },
      { kind: "page-token-dead" },
    ],
    [
      "410 updatedMinTooLongAgo",
      { status: 410, body: googles(410, "updatedMinTooLongAgo") },
      { kind: "updated-min-too-old" },
    ],
    ["410 deleted", { status: 410, body: googles(410, "deleted") }, { kind: "not-found" }],
    [
      "412 conditionNotMet",
      { status: 412, body: googles(412, "conditionNotMet") },
      { kind: "condition-not-met" },
    ],
    [
      "400 pushNotSupportedForRequestedResource",
      { status: 400, body: googles(400, "pushNotSupportedForRequestedResource") },
      { kind: "push-not-supported" },
    ],
    [
      "503 backendError",
      { status: 503, body: googles(503, "backendError") },
      { kind: "upstream-unavailable", retryAfterMs: undefined },
    ],
    [
      "500 with a reason never seen before",
      { status: 500, body: googles(500, "somethingNew") },
      { kind: "upstream-unavailable", retryAfterMs: undefined },
    ],
    [
      "503 rateLimitExceeded: the reason, not the status",
      { status: 503, body: googles(503, "rateLimitExceeded") },
      { kind: "rate-limited", scope: "unknown", retryAfterMs: undefined },
    ],
  ];
  test.each(rows)("%s", (_name, answer, failure) => {
    expect(classify(answer)).toEqual(failure);
  });
});

describe("a limit's scope is also read from the details", () => {
  test.each([
    ["defaultPerMinutePerUser", "user"],
    ["defaultPerMinutePerProject", "project"],
    ["somethingElse", "unknown"],
  ])("quota_limit %s names the scope %s", (quotaLimit, scope) => {
    expect(classify({ status: 429, body: withLimit(quotaLimit) })).toMatchObject({
      kind: "rate-limited",
      scope,
    });
  });
});

describe("what a gateway says decides nothing that cannot be taken back", () => {
  test.each([400, 401, 403, 404, 409, 410, 412])("HTML under %i is unrecognised", (status) => {
    expect(classify({ status, body: HTML_502 })).toEqual({
      kind: "unrecognised",
      status,
      reason: undefined,
    });
  });

  test.each([400, 401, 403, 404, 410, 412])("an empty %i is unrecognised", (status) => {
    expect(classify({ status })).toMatchObject({ kind: "unrecognised", status });
  });

  test.each([500, 502, 503, 504])("HTML or nothing under %i is upstream's trouble", (status) => {
    const failure = { kind: "upstream-unavailable", retryAfterMs: undefined };
    expect(classify({ status, body: HTML_502 })).toEqual(failure);
    expect(classify({ status })).toEqual(failure);
    expect(classify({ status, upstream: "oauth-token", body: HTML_502 })).toEqual(failure);
  });

  test("a 429 without a word is over a limit of unknown scope", () => {
    expect(classify({ status: 429 })).toEqual({
      kind: "rate-limited",
      scope: "unknown",
      retryAfterMs: undefined,
    });
  });

  test("an unknown reason under 403 or 404 is reported, not guessed at", () => {
    expect(classify({ status: 403, body: googles(403, "brandNew") })).toEqual({
      kind: "unrecognised",
      status: 403,
      reason: "brandNew",
    });
    expect(classify({ status: 404, body: googles(404, "brandNew") }).kind).toBe("unrecognised");
  });

  test("a bare 401 with a bearer challenge is a rejected access token", () => {
    const headers = { "www-authenticate": 'Bearer realm="https://accounts.google.com/"' };
    expect(classify({ status: 401, headers })).toEqual({ kind: "access-token-rejected" });
  });

  test.each([403, 429, 500, 503])(
    "I5: fullSyncRequired under %i does not kill the sync token",
    (status) => {
      expect(classify({ status, body: googles(status, "fullSyncRequired") }).kind).not.toBe(
        "sync-token-dead",
      );
    },
  );
});

describe("a truncated body counts for what is whole of it", () => {
  const whole = JSON.stringify(
    googles(403, "rateLimitExceeded", { message: minuteText("Queries per minute per user") }),
  );

  test("the reason and the message survive a cut behind them", () => {
    expect(classify({ status: 403, body: whole.slice(0, whole.indexOf('"code"')) })).toEqual({
      kind: "rate-limited",
      scope: "user",
      retryAfterMs: undefined,
    });
  });

  test("a reason cut in half is no reason", () => {
    const cut = whole.slice(0, whole.indexOf("rateLimitExceeded") + 6);
    expect(classify({ status: 403, body: cut }).kind).toBe("unrecognised");
    expect(classify({ status: 502, body: cut }).kind).toBe("upstream-unavailable");
  });
});

describe("an unknown reason falls back to Google's own sentence", () => {
  test.each([
    ["Calendar usage limits exceeded.", "usage-limit-exceeded"],
    [minuteText("Queries per minute"), "rate-limited"],
    ["Request had insufficient authentication scopes.", "scope-missing"],
    [
      "Google Calendar API has not been used in project 123 before or it is disabled. Enable it by visiting …",
      "api-not-enabled",
    ],
  ])("%s", (message, kind) => {
    expect(classify({ status: 403, body: googles(403, "somethingNew", { message }) }).kind).toBe(
      kind,
    );
  });
});

describe("the token endpoint", () => {
  test("invalid_grant is final for a refresh token", () => {
    const body = {
      error: "invalid_grant",
      error_description: "Token has been expired or revoked.",
    };
    expect(token(400, body)).toEqual({ kind: "credentials-revoked" });
  });

  test("invalid_grant for a service account with a wrong clock disconnects nobody", () => {
    const body = {
      error: "invalid_grant",
      error_description:
        "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
    };
    expect(token(400, body)).toEqual({ kind: "clock-skewed" });
  });

  test("invalid_grant for a key that Google does not know is the project's fault", () => {
    const body = { error: "invalid_grant", error_description: "Invalid JWT Signature." };
    expect(token(400, body).kind).toBe("client-misconfigured");
  });

  test.each(["invalid_client", "unauthorized_client"])(
    "%s is the project's fault, under 400 and 401",
    (error) => {
      const failure = { kind: "client-misconfigured", reason: error };
      expect(token(401, { error })).toEqual(failure);
      expect(token(400, { error })).toEqual(failure);
    },
  );

  test.each([500, 502, 503])(
    "a %i disconnects nobody, not even with invalid_grant in it",
    (status) => {
      expect(token(status, { error: "internal_failure" }).kind).toBe("upstream-unavailable");
      expect(token(status, { error: "invalid_grant" }).kind).toBe("upstream-unavailable");
      expect(token(status, "").kind).toBe("upstream-unavailable");
    },
  );

  test("a limit on the token endpoint is a rate limit", () => {
    expect(token(429, { error: "rate_limit_exceeded" }, { "retry-after": "3" })).toEqual({
      kind: "rate-limited",
      scope: "unknown",
      retryAfterMs: 3000,
    });
  });

  test("an error that nobody knows is unrecognised", () => {
    expect(token(400, { error: "brand_new" })).toEqual({
      kind: "unrecognised",
      status: 400,
      reason: "brand_new",
    });
  });

  test("invalid_grant cut off behind its name still counts", () => {
    expect(token(400, '{"error": "invalid_grant", "error_descr').kind).toBe("credentials-revoked");
  });
});

describe("Retry-After", () => {
  test.each([
    ["7", 7000],
    ["0", 0],
    [new Date(NOW + 90_000).toUTCString(), 90_000],
    [new Date(NOW - 90_000).toUTCString(), 0],
    ["Fri, 31 Dec 9999 23:59:59 GMT", 24 * 3_600_000],
  ])("%s is a wait of %i ms", (value, retryAfterMs) => {
    expect(retryAfter(value)).toEqual({ kind: "upstream-unavailable", retryAfterMs });
  });

  test.each(["soon", "-5x", ""])("%j says nothing", (value) => {
    expect(retryAfter(value)).toEqual({ kind: "upstream-unavailable", retryAfterMs: undefined });
  });
});
