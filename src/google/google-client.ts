import { calendar, type calendar_v3 } from "@googleapis/calendar";
import { OAuth2Client } from "google-auth-library";

export interface CalendarClientOptions {
  /** Google's, or a simulator's. */
  readonly rootUrl: string;
}

export interface CalendarClientDeps {
  /** The guard's choke point: every request of the client passes it. */
  readonly fetch: typeof fetch;
}

/**
 * How gaxios must be told to send a request once: `retry: false` is ignored as soon as any
 * `retryConfig` is set, and the token client sets one with each of its requests.
 */
export const SEND_ONCE = { retry: false, retryConfig: { retry: 0 } } as const;

/** The auth library's interceptors add a header that is there already, and log requests with their tokens. */
export const WITHOUT_LOGGING = { useAuthRequestParameters: false } as const;

/** Longer than any call: how fresh a token is, is decided before it is used (google-auth.ts). */
const NEVER_EXPIRES_MS = 24 * 3_600_000;

/**
 * The generated client behind the choke point, without its retries: a logical GET is one request. It
 * has no credentials; each call passes its own (`auth: bearer(token)`).
 */
export function createCalendarClient(
  options: CalendarClientOptions,
  deps: CalendarClientDeps,
): calendar_v3.Calendar {
  return calendar({
    version: "v3",
    rootUrl: options.rootUrl,
    fetchImplementation: deps.fetch,
    ...SEND_ONCE,
  });
}

/**
 * An access token as the client wants it. With an expiry date and without a refresh token, so that the
 * auth library neither refreshes it nor repeats a request on 401 or 403.
 */
export function bearer(accessToken: string): OAuth2Client {
  return new OAuth2Client({
    ...WITHOUT_LOGGING,
    credentials: { access_token: accessToken, expiry_date: Date.now() + NEVER_EXPIRES_MS },
  });
}
