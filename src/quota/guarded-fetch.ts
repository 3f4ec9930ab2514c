/**
 * The choke point: the one `fetch` that API and token clients are given. No request passes it without
 * a logical call to attribute it to and a permit to pay for it (I2), and none is sent while what it
 * would fetch cannot be stored (I13). Batches and foreign hosts are refused; redirects are not followed,
 * since each would be a request more.
 *
 * State: none of its own; what it knows of a call is in the call's scope.
 */
import { BatchRefused, StoreUnavailable, Unattributed } from "../core/refusal.ts";
import type { StoreHealth } from "../core/store-health.ts";
import type { CallScope, CurrentCall } from "./attribution.ts";
import type { OutgoingRequest, SendOut } from "./passage.ts";
import type { Upstream } from "./permit.ts";
import type { WireAnswer } from "./wire.ts";

export interface GuardedFetchOptions {
  /** Requests to this URL's origin are the Calendar API's. */
  readonly apiRootUrl: string;
  /** Requests to exactly these URLs are token requests. */
  readonly tokenUrls: readonly string[];
}

export interface GuardedFetchDeps {
  readonly currentCall: CurrentCall;
  readonly sendOut: SendOut;
  readonly storeHealth: StoreHealth;
}

/** Behaves as `fetch` does, errors of HTTP included; throws a Refused for what it does not send. */
export function createGuardedFetch(
  options: GuardedFetchOptions,
  deps: GuardedFetchDeps,
): typeof fetch {
  const apiOrigin = new URL(options.apiRootUrl).origin;
  const tokenUrls = new Set(options.tokenUrls.map(withoutQuery));

  function upstreamOf(url: URL): Upstream {
    if (tokenUrls.has(withoutQuery(url.href))) return "oauth-token";
    if (url.origin === apiOrigin) return "calendar";
    throw new Unattributed({
      message: `${url.origin} is neither the Calendar API nor the token endpoint; nothing else is sent through the guard`,
    });
  }

  function admit(url: URL): { scope: CallScope; upstream: Upstream } {
    const scope = deps.currentCall.get();
    if (!scope) {
      throw new Unattributed({
        message: `A request to ${url.origin}${url.pathname} was made outside of a guarded call; make it inside guard.call`,
      });
    }
    const upstream = upstreamOf(url);
    if (/^\/+batch(?:\/|$)/i.test(url.pathname)) {
      throw new BatchRefused({
        message: "A batch is as many requests at Google as it holds; send them one by one",
      });
    }
    refuseUnstorable(scope, deps.storeHealth);
    return { scope, upstream };
  }

  return async (input, init) => {
    // The signal goes to the wire directly: a Request would only wrap it in another one.
    const request = new Request(input, { ...init, signal: null });
    const url = new URL(request.url);
    const { scope, upstream } = admit(url);
    scope.failure = undefined;
    const isRetry = scope.call.earlierAttempt === "reached-google" || scope.reached.has(upstream);
    const outgoing: OutgoingRequest = {
      scope,
      upstream,
      operation: upstream === "oauth-token" ? "oauth.token" : scope.call.operation,
      attempt: isRetry ? "retry" : "first",
      method: request.method,
      url,
      headers: { ...Object.fromEntries(request.headers), "accept-encoding": "gzip" },
      body: request.body === null ? undefined : Buffer.from(await request.arrayBuffer()),
      signal: signalOf(scope, init?.signal ?? undefined),
    };
    return toResponse(await deps.sendOut(outgoing));
  };
}

/** I13: background work fetches nothing that cannot be stored; a person may still read and write. */
export function refuseUnstorable(scope: Pick<CallScope, "call">, health: StoreHealth): void {
  const { attribution, operation } = scope.call;
  if (attribution.class === "interactive" || health.canStore()) return;
  throw new StoreUnavailable({
    message: `${operation} was not sent: the database is slow or gone, and what cannot be stored is not fetched`,
    retryAfterMs: 5000,
  });
}

function signalOf(scope: CallScope, callers: AbortSignal | undefined): AbortSignal {
  return callers === undefined || callers === scope.signal
    ? scope.signal
    : AbortSignal.any([scope.signal, callers]);
}

function toResponse({ status, headers, body }: WireAnswer): Response {
  const sent = new Headers(headers);
  // They describe the body on the wire, not this one.
  sent.delete("content-encoding");
  sent.delete("content-length");
  const isBodiless = status === 204 || status === 205 || status === 304;
  const response = new Response(isBodiless ? null : new Uint8Array(body), {
    status,
    headers: sent,
  });
  if (body.length < LARGE_BODY_BYTES) return response;
  return Object.assign(response, {
    text: () => Promise.resolve(body.toString("utf8")),
    json: () => Promise.resolve(body.toString("utf8")).then(JSON.parse),
  });
}

/**
 * From here on a body is handed over whole: reading nine megabytes back through a Response's stream took
 * 205 ms, decoding the buffer 11.
 */
const LARGE_BODY_BYTES = 64 * 1024;

function withoutQuery(href: string): string {
  const url = new URL(href);
  return url.origin + url.pathname;
}
