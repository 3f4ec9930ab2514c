import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { z } from "zod";
import type { CallerOf } from "./access.ts";
import { API_ROUTES, type ApiHandlers } from "./api-routes.ts";
import type { ApiAnswer, ApiRequest, RouteShape } from "./define-route.ts";
import { HttpProblem } from "./http-problem.ts";
import type { RateLimits } from "./rate-limits.ts";

const MOST_TOLD = 500;

/** Serve the table's routes: each request let in, counted, checked by its schemas, and handed to its handler. */
export async function addApiRoutes(
  server: FastifyInstance,
  access: RouteAccess,
  handlers: ApiHandlers,
): Promise<void> {
  const add = (to: FastifyInstance, [name, shape]: readonly [string, RouteShape]): void => {
    const handle = handlerOf(handlers, name);
    to.route({
      method: shape.method,
      url: shape.path.replaceAll(/\{(\w+)\}/g, ":$1"),
      exposeHeadRoute: false,
      config: { access: shape.access },
      handler: async (request, reply) => {
        const answer = await handle(readRequest({ request, reply, shape }, access));
        return send({ request, reply, shape }, answer);
      },
    });
  };
  const routes = Object.entries<RouteShape>(API_ROUTES);
  for (const route of routes) if (readsBody(route)) add(server, route);
  await server.register((scope, _options, done) => {
    // Clients that say what they would send although they send nothing are no reason to refuse them.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer" }, (_request, _body, parsed) => {
      parsed(null);
    });
    for (const route of routes) if (!readsBody(route)) add(scope, route);
    done();
  });
}

interface RouteAccess {
  readonly callerOf: CallerOf;
  readonly limits: RateLimits;
}

function readsBody([, { body }]: readonly [string, RouteShape]): boolean {
  return body !== undefined;
}

/** What was parsed has the type of the handler's own shape, which is not known here. */
type ParsedRequest = Omit<ApiRequest<RouteShape>, "params" | "query" | "body"> &
  Readonly<Record<"params" | "query" | "body", unknown>>;
type AnyHandler = (request: ParsedRequest) => Promise<ApiAnswer<RouteShape>>;

function handlerOf(handlers: ApiHandlers, name: string): AnyHandler {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- `ApiHandlers` has the handler of each name's shape; what it is handed was parsed by that shape
  return handlers[name as keyof ApiHandlers] as unknown as AnyHandler;
}

interface Exchange {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly shape: RouteShape;
}

function readRequest(
  { request, reply, shape }: Exchange,
  { callerOf, limits }: RouteAccess,
): ParsedRequest {
  const caller = callerOf(request);
  const { scope } = shape.access;
  return {
    caller,
    params: parse(shape.params, request.params, "invalid-parameter"),
    query: parse(shape.query, request.query, "invalid-parameter"),
    body: parse(shape.body, request.body, "invalid-body"),
    chargeTarget: (tenantId) => limits.chargeTarget(caller, scope, tenantId),
    chargeFor: (things) => {
      // One was counted when it was let in.
      if (things > 1) limits.charge(caller, scope, things - 1);
    },
    signal: whileWaitedFor(reply),
  };
}

function parse(
  schema: z.ZodType | undefined,
  value: unknown,
  code: "invalid-parameter" | "invalid-body",
): unknown {
  if (schema === undefined) return undefined;
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new HttpProblem(code, { detail: describeIssues(parsed.error.issues) });
}

/** What is wrong, by the name of the field; never the value, which may be a secret. */
function describeIssues(issues: readonly z.core.$ZodIssue[]): string {
  const texts = issues.map((issue) => {
    const told =
      issue.code === "invalid_union"
        ? issue.errors.map((branch) => describeIssues(branch)).join("; or ")
        : issue.message;
    return issue.path.length === 0 ? told : `${issue.path.map(String).join(".")}: ${told}`;
  });
  return texts.join(", ").slice(0, MOST_TOLD);
}

function whileWaitedFor(reply: FastifyReply): AbortSignal {
  const left = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) left.abort(new Error("Nobody waits for the answer any more"));
  });
  return left.signal;
}

function send(
  { request, reply, shape }: Exchange,
  { body, version, ageMs }: ApiAnswer<RouteShape>,
): FastifyReply {
  reply.code(shape.status ?? 200).type("application/json; charset=utf-8");
  if (!shape.hasEtag) return reply.send(JSON.stringify(body));
  const etag = `W/"${hash(JSON.stringify([request.url, version]))}"`;
  // It may be kept, and is asked about each time it is used: a copy gets older without becoming another.
  reply
    .header("cache-control", "private, no-cache")
    .header("vary", "authorization")
    .header("etag", etag)
    .header("ballast-age-ms", ageMs === undefined ? "unknown" : String(ageMs));
  if (request.headers["if-none-match"]?.split(",").some((one) => one.trim() === etag)) {
    return reply.code(304).removeHeader("content-type").send();
  }
  return reply.send(JSON.stringify(body));
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 22);
}
