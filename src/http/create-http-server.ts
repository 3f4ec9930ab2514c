/**
 * The HTTP server.
 *
 * States: created → listening → closing (takes no new connection; requests in hand are answered, until
 * `closeWithinMs` is up) → closed. A server that could not listen is closed at once.
 */
import { randomUUID } from "node:crypto";
import { isIP } from "node:net";
import helmet from "@fastify/helmet";
import fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import type { ChangeNews, ChangeStore } from "../core/change-store.ts";
import type { Clock } from "../core/clock.ts";
import type { TokenStore } from "../core/token-store.ts";
import type { Logger } from "../observability/logger.ts";
import { addAccess, type DeclaredRoute } from "./access.ts";
import { addApiRoutes } from "./add-api-routes.ts";
import { createApiHandlers, type ApiDeps } from "./api-routes.ts";
import type { ApiToken } from "./bearer-tokens.ts";
import { createTargetFinder } from "./find-target.ts";
import { addHealthRoutes, type HealthDeps } from "./health-routes.ts";
import { HttpProblem } from "./http-problem.ts";
import { renderOverview, STYLESHEET } from "./overview-page.ts";
import { createRateLimits, type RouteLimits } from "./rate-limits.ts";
import { addNotificationRoute, type NotificationRouteDeps } from "./notification-route.ts";
import { refuseUnreadable, sendProblem, sendUnroutable } from "./send-problem.ts";
import { createShortCache } from "./short-cache.ts";
import { createTokenVerifier } from "./verify-token.ts";
import { createChangeWaits, type ChangeWaits } from "./wait-for-changes.ts";

const BODY_LIMIT_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 1_000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 5_000;
const CACHE_MS = 1_000;
const MOST_IN_PATH = 4_096;

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
export interface HttpServerDeps extends HealthDeps, Omit<ApiDeps, "targets" | "changeWaits"> {
  readonly changes: Pick<ChangeStore, "read" | "head" | "waiting">;
  readonly changeNews: ChangeNews;
  /** Told how many requests wait for changes. */
  readonly onChangeWaits?: (waiting: number) => void;
  readonly tokens: Pick<TokenStore, "find" | "noteUsed" | "hasUsable">;
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
  if (!isLoopback(options.host)) await requireTokens(options, deps);
  const server = createBareServer(deps.logger);
  const { clock, logger } = deps;
  const status = createShortCache({ maxAgeMs: CACHE_MS }, { clock, read: deps.status });
  const readiness = createShortCache({ maxAgeMs: CACHE_MS }, { clock, read: deps.readiness });
  await addSecurityHeaders(server);
  refuseUnknownRoutes(server);
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
  const targets = createTargetFinder(deps);
  const changeWaits = addChangeWaits(server, deps);
  const handlers = createApiHandlers({ ...deps, targets, changeWaits });
  await addApiRoutes(server, { callerOf, limits }, handlers);
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

/** Who listens for others has said who may ask, by an operator's token or a tenant's. Routes check every request anyway. */
async function requireTokens(
  { host, tokens }: HttpServerOptions,
  deps: Pick<HttpServerDeps, "tokens">,
): Promise<void> {
  if (tokens.length > 0 || (await deps.tokens.hasUsable())) return;
  throw new HttpAddressRefused(
    "BALLAST_HTTP_PUBLIC_WITHOUT_TOKENS",
    `BALLAST_HTTP_HOST is ${host}, which others can reach, and there is no token yet that says who may ask. Set BALLAST_API_TOKENS, make a tenant's with \`ballast tokens create\`, or listen on 127.0.0.1.`,
  );
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
    // Names of an adopter's own, written in an address.
    routerOptions: { maxParamLength: MOST_IN_PATH },
    frameworkErrors: (_error, _request, reply) => {
      sendUnroutable(reply);
    },
    clientErrorHandler: refuseUnreadable,
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
  server.setErrorHandler((error, request, reply) => sendProblem(error, { request, reply }, logger));
  return server;
}

/** A part of the connections, so that others are answered while all of these wait. */
const WAITS = { lookEveryMs: 1_000, perToken: 5, most: MAX_CONNECTIONS / 4 } as const;

/** Those who wait are answered before the server closes: it would wait for them. */
function addChangeWaits(server: FastifyInstance, deps: HttpServerDeps): ChangeWaits {
  const { changes, changeNews, clock, logger, onChangeWaits } = deps;
  const waits = createChangeWaits(WAITS, {
    changes,
    changeNews,
    clock,
    onError: (error) => {
      logger.log("warn", "New changes could not be looked for", { error });
    },
    onCount: (waiting) => onChangeWaits?.(waiting),
  });
  server.addHook("preClose", () => waits.close());
  return waits;
}

/** Before the body is read: what is wrong with it is no news where nothing is. */
function refuseUnknownRoutes(server: FastifyInstance): void {
  server.addHook("onRequest", (request, _reply, done) => {
    done(request.is404 ? unknownRoute(request) : undefined);
  });
  server.setNotFoundHandler((request) => {
    throw unknownRoute(request);
  });
}

function unknownRoute({ method }: Pick<FastifyRequest, "method">): HttpProblem {
  return new HttpProblem("route-unknown", { detail: `${method} is not served here.` });
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
