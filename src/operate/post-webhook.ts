import { lookup as systemLookup } from "node:dns";
import { Resolver } from "node:dns/promises";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { isIP, type LookupFunction } from "node:net";
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

/** How names become addresses; other than the default in tests. */
interface NameDeps {
  /** None: it has none, or nobody could be asked. */
  readonly resolve: (name: string, signal: AbortSignal) => Promise<readonly string[]>;
  readonly isReachable: (address: string) => boolean;
}

/** RFC 9110's delays, up to a day; moments are as rare as useful here. */
const LONGEST_RETRY_AFTER_S = 86_400;

/**
 * Requests to receivers. A name is looked up once, its addresses are judged, and the connection is made with those:
 * one that answers otherwise the second time (DNS rebinding) gains nothing. No redirect is followed, no proxy asked,
 * nothing of an answer is read but its status.
 */
export function createPostWebhook(
  options: PostWebhookOptions,
  deps: { readonly clock: Clock } & Partial<NameDeps>,
): PostWebhook {
  const names = { resolve: resolveName, isReachable: isPublicAddress, ...deps };
  return async (post, signal) => {
    if (findAddressProblem(post.url, options) !== undefined) return failed("address-refused");
    const settled = new AbortController();
    const tooLate = new AbortController();
    const deadline = deps.clock.sleep(options.timeoutMs, settled.signal).then(
      () => tooLate.abort(),
      () => undefined,
    );
    try {
      const both = AbortSignal.any([signal, tooLate.signal]);
      const lookup = options.allowPrivate
        ? systemLookup
        : await lookUpPublic(new URL(post.url).hostname, names, both);
      return typeof lookup === "string"
        ? failed(lookup)
        : await send(post, { lookup, signal: both });
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

const RESOLVING = { timeout: 2_000, tries: 2 } as const;

/**
 * Asks the name servers itself. The system's way takes one of the process' few threads for as long as a server is
 * silent, and the next name, Google's perhaps, waits for it.
 */
async function resolveName(name: string, signal: AbortSignal): Promise<readonly string[]> {
  const resolver = new Resolver(RESOLVING);
  const cancel = (): void => resolver.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
  signal.removeEventListener("abort", cancel);
  return answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
}

/** A look-up that knows the public addresses of this one host, as they are now, or why there is none. */
async function lookUpPublic(
  host: string,
  { resolve, isReachable }: NameDeps,
  signal: AbortSignal,
): Promise<LookupFunction | PostFailure> {
  // An address needs no look-up, and was judged already.
  if (isIP(host.replace(/^\[(.*)\]$/, "$1")) !== 0) return systemLookup;
  const addresses = await resolve(host, signal);
  signal.throwIfAborted();
  const found = addresses
    .filter((address) => isReachable(address))
    .map((address) => ({ address, family: isIP(address) }));
  const [first] = found;
  if (first === undefined) return addresses.length === 0 ? "name-unknown" : "address-refused";
  return (_host, options, callback) => {
    if (options.all === true) callback(null, found);
    else callback(null, first.address, first.family);
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
  // An answer that switches protocols (101) ends here, with neither response nor error.
  sent.on("close", () => reject(new Error("The connection was closed without an answer")));
  sent.end(body);
  return promise;
}

function readRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined || !/^\d{1,9}$/.test(value)) return undefined;
  return Math.min(Number(value), LONGEST_RETRY_AFTER_S) * 1_000;
}

const NAME_ERRORS = new Set(["ENOTFOUND", "EAI_AGAIN", "ENODATA", "EAI_NODATA"]);

function reasonOf(error: unknown): PostFailure {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (NAME_ERRORS.has(code)) return "name-unknown";
  return /CERT|TLS|SSL|SIGNATURE|EPROTO/.test(code) ? "tls-failed" : "connection-failed";
}
