import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Logger } from "../observability/logger.ts";
import { asProblem, describeProblem, HttpProblem } from "./http-problem.ts";

/** Answer with the problem that an error is; what is our fault goes to the log with its cause. */
export function sendProblem(
  error: unknown,
  { request, reply }: { readonly request: FastifyRequest; readonly reply: FastifyReply },
  logger: Logger,
): FastifyReply {
  const problem = asProblem(error);
  const { status } = describeProblem(problem, request.id);
  // Whoever hung up is told nothing, and what their leaving cut short is no failure.
  if (status >= 500 && !reply.raw.destroyed) {
    const route = request.routeOptions.url ?? "unknown";
    logger.log("error", "HTTP request failed", { requestId: request.id, route, status, error });
  }
  return answerProblem(problem, { request, reply });
}

/** Answer with a problem that was foreseen: nothing is logged for each request that meets it. */
export function answerProblem(
  problem: HttpProblem,
  { request, reply }: { readonly request: FastifyRequest; readonly reply: FastifyReply },
): FastifyReply {
  const { status, body } = describeProblem(problem, request.id);
  if (status === 401) reply.header("www-authenticate", "Bearer");
  if (problem.retryAfterSeconds !== undefined) {
    reply.header("retry-after", String(problem.retryAfterSeconds));
  }
  return reply.code(status).type("application/problem+json").send(JSON.stringify(body));
}

/** As `sendProblem`, for an address that no route could be looked for under: no hook has run. */
export function sendUnroutable(reply: FastifyReply): void {
  const requestId = randomUUID();
  const { status, body } = describeProblem(unreadable(), requestId);
  reply.raw.writeHead(status, {
    "content-type": "application/problem+json",
    "x-content-type-options": "nosniff",
    "x-request-id": requestId,
    "cache-control": "no-store",
  });
  reply.raw.end(JSON.stringify(body));
}

/** What cannot be read as HTTP at all is answered, too, and the connection ended. */
export function refuseUnreadable(
  error: { readonly code: string; readonly bytesParsed?: number },
  socket: Socket,
): void {
  if (error.code === "ECONNRESET" || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const { status, body } = describeProblem(unreadable(), randomUUID());
  const text = JSON.stringify(body);
  socket.end(
    `HTTP/1.1 ${String(status)} Bad Request\r\nContent-Type: application/problem+json\r\n` +
      `Content-Length: ${String(Buffer.byteLength(text))}\r\nConnection: close\r\n\r\n${text}`,
    () => {
      socket.destroy();
    },
  );
}

function unreadable(): HttpProblem {
  return new HttpProblem("bad-request", { detail: "The request cannot be read." });
}
