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
import { createBodyRoom, type BodyPlace, type BodyRoom } from "./body-room.ts";

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
    // A new connection costs TLS, and perhaps the permit; a server that says sooner is heeded.
    keepAliveTimeout: KEEP_ALIVE_MS,
    // One timer of ours covers the whole request; undici's own have a resolution of a second.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const room = createBodyRoom(LARGE_BODIES_AT_ONCE);

  async function send(request: WireRequest): Promise<WireAnswer> {
    if (request.signal.aborted) throw abortReason(request.signal);
    const handler = createHandler(request, { clock, maxBytes: options.maxBodyBytes, room });
    try {
      const { status, headers, chunks } = await dispatch(request, handler);
      const body = await decode({ headers, chunks }, options.maxBodyBytes);
      return { status, headers, body };
    } finally {
      handler.leaveRoom();
    }
  }

  async function dispatch(request: WireRequest, handler: Handler): Promise<RawAnswer> {
    const onAbort = (): void => {
      handler.cancel(abortReason(request.signal));
    };
    const timer = new AbortController();
    request.signal.addEventListener("abort", onAbort, { once: true });
    cancelLater(handler, timer.signal).catch(handler.cancel);
    try {
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
      return await handler.done;
    } finally {
      timer.abort(OVER);
      request.signal.removeEventListener("abort", onAbort);
    }
  }

  async function cancelLater(handler: Handler, over: AbortSignal): Promise<void> {
    const afterMs = options.requestTimeoutMs + options.connectTimeoutMs;
    try {
      await clock.sleep(afterMs, over);
    } catch {
      return;
    }
    handler.cancel(new DOMException(`No complete answer within ${afterMs} ms`, "TimeoutError"));
  }

  return { send, close: () => agent.destroy() };
}

const KEEP_ALIVE_MS = 30_000;

/** Bodies over the limit below that are read, and inflated, at once: what bounds the memory in flight. */
const LARGE_BODIES_AT_ONCE = 4;
const LARGE_BODY_BYTES = 256 * 1024;

/** Shared: an error of its own for each request that ended well would cost more than the request. */
const OVER = new Error("The request is over");

interface Handler extends Dispatcher.DispatchHandler {
  readonly done: Promise<RawAnswer>;
  /** Works in any state: a request still waiting for a connection is never written. */
  readonly cancel: (reason: Error) => void;
  readonly leaveRoom: () => void;
}

interface HandlerNeeds {
  readonly clock: Clock;
  readonly maxBytes: number;
  readonly room: BodyRoom;
}

function createHandler(request: WireRequest, { clock, maxBytes, room }: HandlerNeeds): Handler {
  const { promise, resolve, reject } = Promise.withResolvers<RawAnswer>();
  const chunks: Buffer[] = [];
  let answer: { status: number; headers: Headers } | undefined;
  let controller: Dispatcher.DispatchController | undefined;
  let cancelledBy: Error | undefined;
  let place: BodyPlace | undefined;
  let wasWritten = false;
  let bytes = 0;
  return {
    done: promise,
    cancel: (reason) => {
      cancelledBy ??= reason;
      reject(reason);
      controller?.abort(reason);
    },
    leaveRoom: () => place?.leave(),
    onRequestStart: (started) => {
      if (cancelledBy) throw cancelledBy;
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
      if (place || bytes <= largeFrom(answer?.headers)) return;
      current.pause();
      place = room.enter(() => {
        current.resume();
      });
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

/** A compressed body is ten times as large once it is read. */
function largeFrom(headers: Headers | undefined): number {
  return headers && isCompressed(headers) ? LARGE_BODY_BYTES / 8 : LARGE_BODY_BYTES;
}

function isCompressed(headers: Headers): boolean {
  return headers.get("content-encoding")?.trim().toLowerCase() === "gzip";
}

function toHeaders(raw: Record<string, string | string[] | undefined>): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(raw)) {
    for (const one of Array.isArray(value) ? value : [value ?? ""]) headers.append(name, one);
  }
  return headers;
}

/** In a thread of zlib's own: inflating eight megabytes does not hold up the event loop. */
async function decode(
  { chunks, headers }: Pick<RawAnswer, "chunks" | "headers">,
  maxBytes: number,
): Promise<Buffer> {
  const body = Buffer.concat(chunks);
  if (!isCompressed(headers) || body.length === 0) return body;
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
