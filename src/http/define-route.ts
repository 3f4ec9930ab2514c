/**
 * What a route under `/v1` is. A route is two things kept apart: its **shape** (data: method, path, whom it lets in,
 * what it takes, answers and refuses with) and its **handler**. Shapes stand in one table, `api-routes.ts`; from
 * it come the Fastify routes (`add-api-routes.ts`), the OpenAPI document (`api-document.ts`), the typed client, and
 * what the `isolation` scenario tries.
 *
 * To add a route: a file with `export const listThings = defineRoute({ … })` and a `createThingsHandlers(deps)`; a line
 * in `API_ROUTES`; the handlers spread in `createApiHandlers`. Whatever names somebody's thing is one of the id
 * fields of `api-fields.ts`, so that it is tried with other tenants' ids; what else is required has an `example`. Then
 * `npm run generate:client`; a new problem code says in `http-api.test.ts` how it is met.
 */
import type { z } from "zod";
import type { TenantId } from "../core/ids.ts";
import type { Access } from "./access.ts";
import type { ProblemCode } from "./http-problem.ts";
import type { Caller } from "./verify-token.ts";

/** A route as data. */
export interface RouteShape {
  readonly method: "GET" | "POST" | "DELETE";
  /** As OpenAPI writes it: `/v1/calendars/{calendarId}`. */
  readonly path: `/v1/${string}`;
  /** What it is for, in a sentence. */
  readonly summary: string;
  readonly access: Access;
  /** What stands in the path; each is a string. */
  readonly params?: z.ZodObject;
  /** Strict: a parameter that is misspelt must not be ignored. */
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  /** 200 unless given. */
  readonly status?: 200 | 201 | 202;
  readonly answer: z.ZodType;
  /** Beside those that every route has (`problemsOf`). */
  readonly problems: readonly ProblemCode[];
  /** Its answers have an ETag, and 304 for who has this one already. */
  readonly hasEtag?: true;
}

/** Declare a route; keeps the exact types of its schemas for its handler. */
export function defineRoute<const Shape extends RouteShape>(shape: Shape): Shape {
  return shape;
}

type ParsedBy<Schema> = Schema extends z.ZodType ? z.output<Schema> : undefined;
type SchemaAt<Shape, Part extends string> = Part extends keyof Shape ? Shape[Part] : undefined;

/** A request that was let in and is well formed. */
export interface ApiRequest<Shape extends RouteShape> {
  readonly caller: Caller;
  readonly params: ParsedBy<SchemaAt<Shape, "params">>;
  readonly query: ParsedBy<SchemaAt<Shape, "query">>;
  readonly body: ParsedBy<SchemaAt<Shape, "body">>;
  /** Count an operator's request against the tenant it turned out to be for; throws the 429. */
  readonly chargeTarget: (tenantId: TenantId) => void;
  /** The question is about so many things: count as many; throws the 429. */
  readonly chargeFor: (things: number) => void;
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** What a handler answers with. */
export interface ApiAnswer<Shape extends RouteShape> {
  readonly body: z.input<Shape["answer"]>;
  /** Everything but ages that the answer says, in a form that is cheap to hash; only where the shape says `hasEtag`. */
  readonly version?: unknown;
  /** How old the oldest copy that was read is; undefined: one was never read. Said with a 304, too. */
  readonly ageMs?: number | undefined;
}

/** Does what a route is for; throws `HttpProblem` with one of the codes that its shape names. */
export type ApiHandler<Shape extends RouteShape> = (
  request: ApiRequest<Shape>,
) => Promise<ApiAnswer<Shape>>;

const ALWAYS: readonly ProblemCode[] = [
  "bad-request",
  "token-missing",
  "token-unknown",
  "scope-missing",
  "too-many-requests",
  "overloaded",
  "store-unavailable",
  "internal",
];
const WITH_BODY: readonly ProblemCode[] = [
  "invalid-body",
  "body-too-large",
  "unsupported-media-type",
];

/** A DELETE may bring a body that nobody reads. */
function bodyProblems({ method, body }: RouteShape): readonly ProblemCode[] {
  if (body !== undefined) return WITH_BODY;
  return method === "GET" ? [] : ["body-too-large"];
}

/** Every code that a route may refuse with. */
export function problemsOf(shape: RouteShape): readonly ProblemCode[] {
  const takesParameters = shape.params !== undefined || shape.query !== undefined;
  return [
    ...ALWAYS,
    ...(shape.access.for === "operators" ? (["operators-only"] as const) : []),
    ...(takesParameters ? (["invalid-parameter"] as const) : []),
    ...bodyProblems(shape),
    ...shape.problems,
  ];
}
