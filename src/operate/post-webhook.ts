import { lookup as systemLookup } from "node:dns";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { LookupFunction } from "node:net";
import type { Clock } from "../core/clock.ts";
import { findAddressProblem, isPublicAddress } from "../core/webhook-address.ts";

/** What became of one request: a status, or why there is none. */
export type PostResult =
  | {
      readonly kind: "answered";
      readonly status: number;
      /** As the receiver asked, in milliseconds. */
      readonly retryAfterMs: number | undefined;
    }
  | { readonly kind: "failed"; readonly reason: PostFailure };

/** Stable, for logs and for who runs the receiver. */
export type PostFailure =
  "timeout" | "address-refused" | "name-unknown" | "connection-failed" | "tls-failed";

export interface WebhookPost {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Send one request; rejects only when `signal` aborts. */
export type PostWebhook = (post: WebhookPost, signal: AbortSignal) => Promise<PostResult>;

export interface PostWebhookOptions {
  /** From the first look-up to the answer's status. */
  readonly timeoutMs: number;
  /** Whether loopback and private addresses, and http, will do. */
  readonly allowPrivate: boolean;
}

/** RFC 9110's delays, up to a day; moments are as rare as useful here. */
const LONGEST_RETRY_AFTER_S = 86_400;

/**
 * Requests to receivers. A name is looked up and its addresses are judged by the same look-up that the connection
 * is made with: a name that answers otherwise the second time (DNS rebinding) gains nothing. No redirect is
 * followed, no proxy asked, nothing of an answer is read but its status.
 */
export function createPostWebhook(
  options: PostWebhookOptions,
  deps: { readonly clock: Clock; readonly lookup?: typeof systemLookup },
): PostWebhook {
  const lookup = options.allowPrivate
    ? (deps.lookup ?? systemLookup)
    : publicLookup(deps.lookup ?? systemLookup);
  return async (post, signal) => {
    if (findAddressProblem(post.url, options) !== undefined) return failed("address-refused");
    const settled = new AbortController();
    const tooLate = new AbortController();
    const deadline = deps.clock.sleep(options.timeoutMs, settled.signal).then(
      () => tooLate.abort(),
      () => undefined,
    );
    try {
      return await send(post, { lookup, signal: AbortSignal.any([signal, tooLate.signal]) });
    } catch (error) {
      signal.throwIfAborted();
      return tooLate.signal.aborted ? failed("timeout") : failed(reasonOf(error));
    } finally {
      settled.abort();
      await deadline;
    }
  };
}

function failed(reason: PostFailure): PostResult {
  return { kind: "failed", reason };
}

class AddressRefused extends Error {
  override readonly name = "AddressRefused";
}

/** Knows only public addresses. */
function publicLookup(lookup: typeof systemLookup): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) {
        callback(error, "");
        return;
      }
      const reachable = addresses.filter(({ address }) => isPublicAddress(address));
      const [first] = reachable;
      if (first === undefined) {
        callback(new AddressRefused(`${hostname} has no public address`), "");
      } else if (options.all === true) {
        callback(null, reachable);
      } else {
        callback(null, first.address, first.family);
      }
    });
  };
}

function send(
  { url, headers, body }: WebhookPost,
  { lookup, signal }: { readonly lookup: LookupFunction; readonly signal: AbortSignal },
): Promise<PostResult> {
  const { promise, resolve, reject } = Promise.withResolvers<PostResult>();
  const start = new URL(url).protocol === "https:" ? requestHttps : requestHttp;
  const sent = start(url, {
    method: "POST",
    headers: { ...headers, "content-length": String(Buffer.byteLength(body)) },
    // A connection of its own: one receiver's idle sockets are not kept for hours.
    agent: false,
    lookup,
    signal,
  });
  sent.on("response", (response) => {
    const { statusCode = 0, headers: answered } = response;
    resolve({
      kind: "answered",
      status: statusCode,
      retryAfterMs: readRetryAfter(answered["retry-after"]),
    });
    // What it says beside its status is nobody's business, and may be endless.
    response.destroy();
  });
  // Also after the answer, when the rest of the connection breaks: heard, so that nobody dies of it.
  sent.on("error", reject);
  sent.end(body);
  return promise;
}

function readRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined || !/^\d{1,9}$/.test(value)) return undefined;
  return Math.min(Number(value), LONGEST_RETRY_AFTER_S) * 1_000;
}

const NAME_ERRORS = new Set(["ENOTFOUND", "EAI_AGAIN", "ENODATA", "EAI_NODATA"]);

function reasonOf(error: unknown): PostFailure {
  if (error instanceof AddressRefused) return "address-refused";
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (NAME_ERRORS.has(code)) return "name-unknown";
  return /CERT|TLS|SSL|SIGNATURE|EPROTO/.test(code) ? "tls-failed" : "connection-failed";
}
