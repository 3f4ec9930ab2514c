/**
 * One HTTP request on the wire, over connections of our own, and only while its permit holds.
 *
 * undici hands a request to `onRequestStart` at the moment when an established connection is about to
 * write its first byte. An expired permit is found out there: whatever took long before (DNS, connect,
 * TLS, a stalled event loop) cannot slip past it. Throwing there, rather than aborting, keeps the
 * connection: nothing was written to it.
 *
 * State, per request: queued → started (written) → answered | failed; `wasWritten` tells the middle.
 */
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { Agent, type Dispatcher } from "undici";
import type { Clock } from "../core/clock.ts";

const inflate = promisify(gunzip);

export interface WireOptions {
  /** Sockets to one origin; the limiter's slots keep fewer busy. */
  readonly connections: number;
  readonly connectTimeoutMs: number;
  /** From the first byte written to the last byte read. */
  readonly requestTimeoutMs: number;
  /** Of a body, uncompressed. */
  readonly maxBodyBytes: number;
}

export interface WireRequest {
  readonly method: Dispatcher.HttpMethod;
  readonly url: URL;
  readonly headers: Record<string, string>;
  readonly body: Buffer | undefined;
  readonly useByMonotonicMs: number;
  readonly signal: AbortSignal;
  /** The request line is about to be written: from here on it counts at Google. */
  readonly onWritten: () => void;
}

export interface WireAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** Uncompressed. */
  readonly body: Buffer;
}

/** The permit's use-by passed before the request could be written. Nothing was sent. */
export class PermitExpired extends Error {
  override readonly name = "PermitExpired";
}

/** The body grew over the limit and was cut off. */
export class BodyTooLarge extends Error {
  override readonly name = "BodyTooLarge";
  readonly limitBytes: number;

  constructor(limitBytes: number) {
    super(`The body is larger than ${limitBytes} bytes; ask for smaller pages`);
    this.limitBytes = limitBytes;
  }
}

export interface Wire {
  /** Throws PermitExpired, BodyTooLarge, undici's errors, a TimeoutError, or the signal's reason. */
  send(request: WireRequest): Promise<WireAnswer>;
  close(): Promise<void>;
}

interface RawAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly chunks: readonly Buffer[];
}

/** Opens its connection pool lazily; whoever creates it closes it. */
export function createWire(options: WireOptions, { clock }: { readonly clock: Clock }): Wire {
  const agent = new Agent({
    connections: options.connections,
    pipelining: 1,
    // The use-by is checked in HTTP/1's write path; HTTP/2 would write on a shared connection.
    allowH2: false,
    connect: { timeout: options.connectTimeoutMs },
    // One timer of ours covers the whole request; undici's own have a resolution of a second.
    headersTimeout: 0,
    bodyTimeout: 0,
  });

  async function send(request: WireRequest): Promise<WireAnswer> {
    const timer = new AbortController();
    const stop = AbortSignal.any([request.signal, timer.signal]);
    const raw = await Promise.race([
      dispatch(request, stop),
      expire(options.requestTimeoutMs + options.connectTimeoutMs, timer.signal),
    ]).finally(() => {
      timer.abort(new DOMException("The request is over", "AbortError"));
    });
    return {
      status: raw.status,
      headers: raw.headers,
      body: await decode(raw, options.maxBodyBytes),
    };
  }

  /** Rejects when time is up; `stop` then aborts the request too. */
  async function expire(afterMs: number, over: AbortSignal): Promise<never> {
    await clock.sleep(afterMs, over);
    throw new DOMException(`No complete answer within ${afterMs} ms`, "TimeoutError");
  }

  function dispatch(request: WireRequest, stop: AbortSignal): Promise<RawAnswer> {
    return new Promise((resolve, reject) => {
      if (request.signal.aborted) {
        reject(abortReason(request.signal));
        return;
      }
      const handler = createHandler(request, { clock, stop, maxBytes: options.maxBodyBytes });
      // Not through the controller alone: a request still waiting for a connection has none yet.
      const onAbort = (): void => {
        handler.abort(abortReason(stop));
        reject(abortReason(stop));
      };
      stop.addEventListener("abort", onAbort, { once: true });
      handler.done
        .finally(() => {
          stop.removeEventListener("abort", onAbort);
        })
        .then(resolve, reject);
      agent.dispatch(
        {
          origin: request.url.origin,
          path: request.url.pathname + request.url.search,
          method: request.method,
          headers: request.headers,
          body: request.body ?? null,
        },
        handler,
      );
    });
  }

  return { send, close: () => agent.destroy() };
}

interface Handler extends Dispatcher.DispatchHandler {
  readonly done: Promise<RawAnswer>;
  abort(reason: Error): void;
}

interface HandlerNeeds {
  readonly clock: Clock;
  readonly stop: AbortSignal;
  readonly maxBytes: number;
}

function createHandler(request: WireRequest, { clock, stop, maxBytes }: HandlerNeeds): Handler {
  const { promise, resolve, reject } = Promise.withResolvers<RawAnswer>();
  const chunks: Buffer[] = [];
  let answer: { status: number; headers: Headers } | undefined;
  let controller: Dispatcher.DispatchController | undefined;
  let wasWritten = false;
  let bytes = 0;
  return {
    done: promise,
    abort: (reason) => controller?.abort(reason),
    onRequestStart: (started) => {
      if (stop.aborted) throw abortReason(stop);
      // undici writes an unanswered request again after some closes; a permit pays for one write only.
      if (wasWritten) throw new Error("A request is written once per permit");
      if (clock.monotonicMs() >= request.useByMonotonicMs) {
        throw new PermitExpired("The permit expired before its request could be written");
      }
      wasWritten = true;
      controller = started;
      request.onWritten();
    },
    onResponseStart: (_controller, status, headers) => {
      answer = { status, headers: toHeaders(headers) };
    },
    onResponseData: (current, chunk) => {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        current.abort(new BodyTooLarge(maxBytes));
        return;
      }
      chunks.push(chunk);
    },
    onResponseEnd: () => {
      if (answer) resolve({ ...answer, chunks });
      else reject(new Error("An answer ended before it began"));
    },
    onResponseError: (_controller, error) => {
      reject(error);
    },
  };
}

function toHeaders(raw: Record<string, string | string[] | undefined>): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(raw)) {
    for (const one of Array.isArray(value) ? value : [value ?? ""]) headers.append(name, one);
  }
  return headers;
}

/** In a thread of zlib's own: inflating eight megabytes does not hold up the event loop. */
async function decode({ chunks, headers }: RawAnswer, maxBytes: number): Promise<Buffer> {
  const body = Buffer.concat(chunks);
  if (headers.get("content-encoding")?.trim().toLowerCase() !== "gzip" || body.length === 0) {
    return body;
  }
  try {
    return await inflate(body, { maxOutputLength: maxBytes });
  } catch (error) {
    if (error instanceof RangeError) throw new BodyTooLarge(maxBytes);
    throw error;
  }
}

function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error("Aborted", { cause: reason });
}
