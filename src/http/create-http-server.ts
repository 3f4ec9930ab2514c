/**
 * The HTTP server.
 *
 * States: created → listening → closing (takes no new connection; requests in hand are answered, until
 * `closeWithinMs` is up) → closed. A server that could not listen is closed at once.
 */
import { randomUUID } from "node:crypto";
import { isIP } from "node:net";
import helmet from "@fastify/helmet";
import fastify, { type FastifyInstance } from "fastify";
import type { Clock } from "../core/clock.ts";
import type { TokenStore } from "../core/token-store.ts";
import type { Logger } from "../observability/logger.ts";
import { addAccess, type DeclaredRoute } from "./access.ts";
import type { ApiToken } from "./bearer-tokens.ts";
import { addHealthRoutes, type HealthDeps } from "./health-routes.ts";
import { asProblem, describeProblem, HttpProblem } from "./http-problem.ts";
import { renderOverview, STYLESHEET } from "./overview-page.ts";
import { createRateLimits, type RouteLimits } from "./rate-limits.ts";
import { addRefreshRoute, type RefreshRouteDeps } from "./refresh-route.ts";
import { addNotificationRoute, type NotificationRouteDeps } from "./notification-route.ts";
import { createShortCache } from "./short-cache.ts";
import { createTokenVerifier } from "./verify-token.ts";

const BODY_LIMIT_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 1_000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 5_000;
const CACHE_MS = 1_000;

/** Where the server listens and whom it lets in. */
export interface HttpServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tokens: readonly ApiToken[];
  /** How often a token, a tenant and a tenant's consumer may ask, for each scope. */
  readonly limits: RouteLimits;
  readonly closeWithinMs: number;
}

/** What its routes show and do. */
export interface HttpServerDeps extends HealthDeps, RefreshRouteDeps {
  readonly tokens: Pick<TokenStore, "find" | "noteUsed">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly notifications: Omit<NotificationRouteDeps, "clock">;
}

/** A listening server; whoever creates it closes it. */
export interface HttpServer {
  /** With the port that was really taken. */
  readonly url: string;
  /** Every route under `/v1`, with whom it lets in. */
  readonly routes: readonly DeclaredRoute[];
  close(): Promise<void>;
}

/** The server cannot listen as it was told to; the message says what to change. */
export class HttpAddressRefused extends Error {
  override readonly name = "HttpAddressRefused";
  readonly code: "BALLAST_HTTP_PUBLIC_WITHOUT_TOKENS" | "BALLAST_HTTP_ADDRESS_UNUSABLE";

  constructor(code: HttpAddressRefused["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Build the routes and listen. Rejects with {@link HttpAddressRefused} when it may not or cannot. */
export async function createHttpServer(
  options: HttpServerOptions,
  deps: HttpServerDeps,
): Promise<HttpServer> {
  if (!isLoopback(options.host) && options.tokens.length === 0) {
    throw new HttpAddressRefused(
      "BALLAST_HTTP_PUBLIC_WITHOUT_TOKENS",
      `BALLAST_HTTP_HOST is ${options.host}, which others can reach, and BALLAST_API_TOKENS names nobody who may. Set BALLAST_API_TOKENS, or listen on 127.0.0.1.`,
    );
  }
  const server = createBareServer(deps.logger);
  const { clock, logger } = deps;
  const status = createShortCache({ maxAgeMs: CACHE_MS }, { clock, read: deps.status });
  const readiness = createShortCache({ maxAgeMs: CACHE_MS }, { clock, read: deps.readiness });
  await addSecurityHeaders(server);
  addHealthRoutes(server, { ...deps, status, readiness });
  server.get("/style.css", (_request, reply) => reply.type("text/css").send(STYLESHEET));
  server.get("/", async (_request, reply) => {
    const page = renderOverview(await status());
    return reply.type("text/html").send(page);
  });
  const limits = createRateLimits(options.limits, { clock });
  const verifier = createTokenVerifier(options.tokens, {
    tokens: deps.tokens,
    clock,
    onError: (error) => {
      logger.log("warn", "The use of a token could not be noted", { error });
    },
  });
  const { callerOf, routes } = addAccess(server, { verifier, limits });
  addRefreshRoute(server, { callerOf, limits }, deps);
  await addNotificationRoute(server, { ...deps.notifications, clock });
  await listen(server, options);
  return {
    url: addressOf(server, options.host),
    routes,
    close: async () => {
      await closeWithin(server, options.closeWithinMs, clock);
      await verifier.close();
    },
  };
}

function createBareServer(logger: Logger): FastifyInstance {
  const server = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: REQUEST_TIMEOUT_MS * 2,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxRequestsPerSocket: 1_000,
    forceCloseConnections: "idle",
    // A caller's own id is kept where it is harmless in a log, so that both logs can be read together.
    genReqId: (request) => {
      const theirs = request.headers["x-request-id"];
      const isUsable = typeof theirs === "string" && /^[\w.-]{1,64}$/.test(theirs);
      return isUsable ? theirs : randomUUID();
    },
  });
  server.server.maxConnections = MAX_CONNECTIONS;
  server.removeContentTypeParser("text/plain");
  server.addHook("onRequest", (request, reply, done) => {
    reply.header("x-request-id", request.id).header("cache-control", "no-store");
    done();
  });
  server.setNotFoundHandler((request) => {
    throw new HttpProblem("route-unknown", { detail: `${request.method} is not served here.` });
  });
  server.setErrorHandler((error, request, reply) => {
    const problem = asProblem(error);
    const { status, body } = describeProblem(problem, request.id);
    if (status >= 500) {
      const route = request.routeOptions.url ?? "unknown";
      logger.log("error", "HTTP request failed", { requestId: request.id, route, status, error });
    }
    if (status === 401) reply.header("www-authenticate", "Bearer");
    if (problem.retryAfterSeconds !== undefined) {
      reply.header("retry-after", String(problem.retryAfterSeconds));
    }
    return reply.code(status).type("application/problem+json").send(JSON.stringify(body));
  });
  return server;
}

async function addSecurityHeaders(server: FastifyInstance): Promise<void> {
  await server.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        "default-src": ["'none'"],
        "style-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
      },
    },
    // TLS is the business of what stands in front; on plain loopback the header would be a lie.
    strictTransportSecurity: false,
  });
}

async function listen(server: FastifyInstance, options: HttpServerOptions): Promise<void> {
  const { host, port } = options;
  try {
    await server.listen({ host, port });
  } catch (error) {
    await server.close();
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown reason";
    const reason = code === "EADDRINUSE" ? "something else listens there" : code;
    throw new HttpAddressRefused(
      "BALLAST_HTTP_ADDRESS_UNUSABLE",
      `Cannot listen on ${host} port ${String(port)}: ${reason}. Choose another with BALLAST_HTTP_PORT (0: any free one) or BALLAST_HTTP_HOST.`,
      { cause: error },
    );
  }
}

function addressOf(server: FastifyInstance, host: string): string {
  const address = server.server.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  return `http://${isIP(host) === 6 ? `[${host}]` : host}:${String(port)}`;
}

async function closeWithin(
  server: FastifyInstance,
  closeWithinMs: number,
  clock: Clock,
): Promise<void> {
  const closed = new AbortController();
  const cutOff = clock.sleep(closeWithinMs, closed.signal).then(
    () => server.server.closeAllConnections(),
    () => undefined,
  );
  try {
    await server.close();
  } finally {
    closed.abort();
    await cutOff;
  }
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}
