import { z } from "zod";
import { problemsOf, type RouteShape } from "./define-route.ts";
import { PROBLEMS, type ProblemCode } from "./http-problem.ts";

type Json = Readonly<Record<string, unknown>>;

/** An OpenAPI 3.1 document, as far as others build on it. */
export interface ApiDocument {
  readonly openapi: "3.1.0";
  readonly info: Json;
  readonly security: readonly Json[];
  /** By path, then by method in lower case. */
  readonly paths: Readonly<Record<string, Readonly<Record<string, Json>>>>;
  readonly components: { readonly schemas: Json; readonly securitySchemes: Json };
}

const PROBLEM_TYPE = "application/problem+json";
const ETAG_HEADERS = {
  etag: { schema: { type: "string" } },
  "ballast-age-ms": {
    description: "How old the oldest copy that was read is now; `unknown`: one was never read.",
    schema: { type: "string" },
  },
};

/** Describe every route: what it takes, answers, and refuses with. */
export function createApiDocument(routes: Readonly<Record<string, RouteShape>>): ApiDocument {
  const schemas: Record<string, unknown> = { Problem: problemSchema() };
  const paths: Record<string, Record<string, Json>> = {};
  for (const [name, shape] of Object.entries(routes)) {
    const methods = (paths[shape.path] ??= {});
    methods[shape.method.toLowerCase()] = describeRoute(name, shape, schemas);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Ballast",
      version: "1",
      description:
        "Reads of mirrored Google calendars, and wishes for refreshes. Every answer about a calendar says how fresh its copy is; what is not known is said as unknown, never as free. A tenant's token sees that tenant; what is another's is answered as what does not exist.",
    },
    security: [{ token: [] }],
    paths,
    components: {
      schemas,
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
    },
  };
}

function describeRoute(name: string, shape: RouteShape, schemas: Record<string, unknown>): Json {
  const { access, body, answer, hasEtag } = shape;
  const parameters = [
    ...parametersOf(shape.params, "path", schemas),
    ...parametersOf(shape.query, "query", schemas),
    ...(hasEtag ? [IF_NONE_MATCH] : []),
  ];
  return {
    operationId: name,
    summary: shape.summary,
    "x-scope": access.scope,
    "x-for": access.for,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: jsonContent(body, "input", schemas) } }),
    responses: {
      [String(shape.status ?? 200)]: {
        description: "Done.",
        ...(hasEtag ? { headers: ETAG_HEADERS } : {}),
        content: jsonContent(answer, "output", schemas),
      },
      ...(hasEtag
        ? { "304": { description: "What you have is still the answer.", headers: ETAG_HEADERS } }
        : {}),
      ...problemResponses(problemsOf(shape)),
    },
  };
}

const IF_NONE_MATCH = {
  name: "if-none-match",
  in: "header",
  required: false,
  description: "ETags of answers that you have.",
  schema: { type: "string" },
} as const;

function parametersOf(
  fields: z.ZodObject | undefined,
  place: "path" | "query",
  schemas: Record<string, unknown>,
): readonly Json[] {
  if (fields === undefined) return [];
  const object = toJsonSchema(fields, "input", schemas);
  const required = new Set(Array.isArray(object["required"]) ? object["required"] : []);
  return Object.entries(asJson(object["properties"])).map(([name, schema]) => ({
    name,
    in: place,
    required: place === "path" || required.has(name),
    schema,
  }));
}

function jsonContent(
  schema: z.ZodType,
  io: "input" | "output",
  schemas: Record<string, unknown>,
): Json {
  return { "application/json": { schema: toJsonSchema(schema, io, schemas) } };
}

/** What has a name goes to `schemas`, once. */
function toJsonSchema(
  schema: z.ZodType,
  io: "input" | "output",
  schemas: Record<string, unknown>,
): Json {
  const {
    $schema: _,
    $defs: named,
    ...own
  } = asJson(lifted(z.toJSONSchema(schema, { target: "draft-2020-12", io })));
  Object.assign(schemas, asJson(named));
  return own;
}

/** References as OpenAPI has them. */
function lifted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(lifted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]: [string, unknown]) => [
      key,
      key === "$ref" && typeof one === "string"
        ? one.replace("#/$defs/", "#/components/schemas/")
        : lifted(one),
    ]),
  );
}

function asJson(value: unknown): Json {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function problemResponses(codes: readonly ProblemCode[]): Json {
  const byStatus = Map.groupBy(codes, (code) => PROBLEMS[code].status);
  return Object.fromEntries(
    [...byStatus]
      .toSorted(([left], [right]) => left - right)
      .map(([status, of]) => [
        String(status),
        {
          description: of.map((code) => `\`${code}\`: ${PROBLEMS[code].title}.`).join(" "),
          content: {
            [PROBLEM_TYPE]: {
              schema: {
                allOf: [{ $ref: "#/components/schemas/Problem" }],
                properties: { status: { const: status }, code: { enum: of } },
              },
            },
          },
        },
      ]),
  );
}

function problemSchema(): Json {
  return {
    type: "object",
    description: "RFC 9457. Decide by `code`; `detail` is for people.",
    properties: {
      type: { type: "string" },
      title: { type: "string" },
      status: { type: "integer" },
      detail: { type: "string" },
      code: { enum: Object.keys(PROBLEMS) },
      requestId: { type: "string" },
      next: { type: "string", description: "With `changes-forgotten`: the cursor to go on from." },
    },
    required: ["type", "title", "status", "detail", "code", "requestId"],
    additionalProperties: false,
  };
}
