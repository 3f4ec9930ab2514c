import type { IncomingMessage, ServerResponse } from "node:http";

/** One HTTP exchange: the request with its target split, and its answer. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly queryText: string;
}

const MAX_BODY_BYTES = 16 * 1024 * 1024;
const NO_QUERY = new URLSearchParams();

/** Split a request's target. */
export function openExchange(request: IncomingMessage, response: ServerResponse): Exchange {
  const target = request.url ?? "/";
  const mark = target.indexOf("?");
  return {
    request,
    response,
    path: mark < 0 ? target : target.slice(0, mark),
    query: mark < 0 ? NO_QUERY : new URLSearchParams(target.slice(mark + 1)),
    queryText: mark < 0 ? "" : target.slice(mark + 1),
  };
}

/** Read the whole body as text, then go on; undefined when it is too large or the client went away. */
export function readText(request: IncomingMessage, done: (body: string | undefined) => void): void {
  if (request.method === "GET" || request.method === "DELETE") {
    done("");
    return;
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  let isDone = false;
  const finish = (body: string | undefined): void => {
    if (isDone) return;
    isDone = true;
    done(body);
  };
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) finish(undefined);
    else chunks.push(chunk);
  });
  request.on("end", () => finish(Buffer.concat(chunks).toString("utf8")));
  request.on("error", () => finish(undefined));
  request.on("close", () => finish(undefined));
}

/** What to send. */
export interface Sending {
  readonly status: number;
  readonly body: string | undefined;
  readonly contentType?: string;
  readonly etag?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
  readonly location?: string | undefined;
}

/** Send an answer; nothing happens when the client has gone. */
export function send(response: ServerResponse, sending: Sending): void {
  if (response.destroyed || response.headersSent) return;
  const headers: Record<string, string | number> = {};
  if (sending.body !== undefined) {
    headers["Content-Type"] = sending.contentType ?? "application/json; charset=UTF-8";
    headers["Content-Length"] = Buffer.byteLength(sending.body);
  }
  if (sending.etag !== undefined) headers["ETag"] = sending.etag;
  if (sending.retryAfterSeconds !== undefined) headers["Retry-After"] = sending.retryAfterSeconds;
  if (sending.location !== undefined) headers["Location"] = sending.location;
  response.writeHead(sending.status, headers);
  response.end(sending.body);
}

/** Promise all of a body, send a part of it, and break the connection. */
export function sendTruncated(response: ServerResponse, body: string, bytes: number): void {
  const whole = Buffer.from(body);
  response.writeHead(200, {
    "Content-Type": "application/json; charset=UTF-8",
    "Content-Length": whole.length + 1,
  });
  response.write(whole.subarray(0, bytes), () => {
    response.destroy();
  });
}
