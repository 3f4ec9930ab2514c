/** The source of the client's typed routes, from the OpenAPI document: `packages/client/src/api-operations.ts`. */
import { format, resolveConfig } from "prettier";
import { createApiDocument } from "../../src/http/api-document.ts";
import { API_ROUTES } from "../../src/http/api-routes.ts";

type Json = Readonly<Record<string, unknown>>;

/** Where it is checked in. */
export const API_CLIENT_FILE = new URL(
  "../../packages/client/src/api-operations.ts",
  import.meta.url,
).pathname;

/** What the checked-in file should be. */
export async function writeApiClientSource(): Promise<string> {
  const { paths, components } = createApiDocument(API_ROUTES);
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => ({ path, method, described })),
  );
  const { Problem: problem, ...schemas } = components.schemas as Record<string, Json>;
  const properties = (problem?.["properties"] ?? {}) as Record<string, Json>;
  const codes = (properties["code"]?.["enum"] ?? []) as readonly string[];
  const text = [
    "/** Generated from Ballast's OpenAPI document by `npm run generate:client`; edit the routes, not this file. */\n/* oxlint-disable max-lines -- as long as the document */",
    `/** Every code that Ballast refuses with. */\nexport type ApiProblemCode = ${codes.map((code) => JSON.stringify(code)).join(" | ")};`,
    ...Object.entries(schemas)
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([name, schema]) => `${docOf(schema)}export type ${name} = ${typeOf(schema)};`),
    `/** What each route takes and answers. */\nexport interface ApiOperations {\n${operations.map(({ described }) => operationType(described)).join("\n")}\n}`,
    `/** How each route is asked. */\nexport const API_OPERATIONS = {\n${operations.map((one) => operationEntry(one)).join("\n")}\n} as const;`,
  ].join("\n\n");
  const config = await resolveConfig(API_CLIENT_FILE);
  return format(text, { ...config, parser: "typescript" });
}

function operationType(described: Json): string {
  const fields = [...parametersOf(described, "path"), ...parametersOf(described, "query")].map(
    (one) => {
      const isRequired = one["required"] === true;
      const schema = one["schema"] as Json;
      return `${docOf(schema)}readonly ${String(one["name"])}${isRequired ? "" : "?"}: ${typeOf(schema)}${isRequired ? "" : " | undefined"};`;
    },
  );
  const body = bodyOf(described);
  const input = [
    ...(fields.length === 0 ? [] : [`{ ${fields.join("\n")} }`]),
    ...(body === undefined ? [] : [`(${typeOf(body)})`]),
  ];
  return `/** ${String(described["summary"])} */\nreadonly ${String(described["operationId"])}: { readonly input: ${input.join(" & ") || "{ readonly [field: string]: never }"}; readonly answer: ${typeOf(answerOf(described))} };`;
}

function operationEntry({
  path,
  method,
  described,
}: {
  readonly path: string;
  readonly method: string;
  readonly described: Json;
}): string {
  const names = (place: string): string =>
    JSON.stringify(parametersOf(described, place).map((one) => one["name"]));
  return `${String(described["operationId"])}: { method: ${JSON.stringify(method.toUpperCase())}, path: ${JSON.stringify(path)}, inPath: ${names("path")}, inQuery: ${names("query")}, hasBody: ${String(bodyOf(described) !== undefined)} },`;
}

function parametersOf(described: Json, place: string): readonly Json[] {
  return ((described["parameters"] ?? []) as readonly Json[]).filter((one) => one["in"] === place);
}

function bodyOf(described: Json): Json | undefined {
  const body = described["requestBody"] as Json | undefined;
  return body === undefined ? undefined : schemaOf(body);
}

function answerOf(described: Json): Json {
  const responses = described["responses"] as Record<string, Json>;
  const [, done] = Object.entries(responses).find(([status]) => status.startsWith("2")) ?? [];
  return done === undefined ? {} : schemaOf(done);
}

function schemaOf(holder: Json): Json {
  const content = holder["content"] as Record<string, { readonly schema: Json }>;
  return content["application/json"]?.schema ?? {};
}

function docOf(schema: Json): string {
  const { description } = schema;
  return typeof description === "string" ? `/** ${description} */\n` : "";
}

function typeOf(schema: Json): string {
  const { $ref: ref, enum: values, anyOf, oneOf } = schema;
  if (typeof ref === "string") return ref.split("/").at(-1) ?? "unknown";
  if ("const" in schema) return JSON.stringify(schema["const"]);
  if (Array.isArray(values)) return values.map((one) => JSON.stringify(one)).join(" | ");
  const forms = anyOf ?? oneOf;
  if (Array.isArray(forms)) return forms.map((one: Json) => `(${typeOf(one)})`).join(" | ");
  const types = [schema["type"]].flat();
  return types.map((type) => plainTypeOf(String(type), schema)).join(" | ");
}

function plainTypeOf(type: string, schema: Json): string {
  switch (type) {
    case "integer":
      return "number";
    case "string":
    case "number":
    case "boolean":
    case "null":
      return type;
    case "array":
      return `readonly (${typeOf((schema["items"] ?? {}) as Json)})[]`;
    case "object":
      return objectTypeOf(schema);
    default:
      return "unknown";
  }
}

function objectTypeOf(schema: Json): string {
  const required = new Set((schema["required"] ?? []) as readonly string[]);
  const fields = Object.entries((schema["properties"] ?? {}) as Record<string, Json>).map(
    ([name, field]) =>
      `${docOf(field)}readonly ${name}${required.has(name) ? "" : "?"}: ${typeOf(field)}${required.has(name) ? "" : " | undefined"};`,
  );
  const isOpen = schema["additionalProperties"] !== false;
  return `{ ${fields.join("\n")} ${isOpen ? "readonly [field: string]: unknown;" : ""} }`;
}
