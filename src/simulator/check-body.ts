import { badRequest } from "./google-error.ts";
import schemas from "./google-schemas.json" with { type: "json" };
import type { JsonSchema } from "./generate-schemas.ts";

const definitions: Record<string, JsonSchema | undefined> = schemas.definitions;
const MAX_BODY_DEPTH = 12;

/**
 * Read a request body as one of Google's resources: 400 when it is no JSON object or a field has the wrong type. Unknown
 * fields are dropped, as Google does; null stays, because PATCH clears fields with it.
 */
export function readBody(body: string, resource: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = body === "" ? {} : JSON.parse(body);
  } catch {
    throw badRequest("Parse Error", "parseError");
  }
  const checked = check(parsed, { $ref: `#/definitions/${resource}` }, { path: "", depth: 0 });
  if (!isRecord(checked)) throw badRequest("Parse Error", "parseError");
  return checked;
}

/** A JSON object, not an array and not null. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

interface Place {
  readonly path: string;
  readonly depth: number;
}

function check(value: unknown, schema: JsonSchema, place: Place): unknown {
  if (value === null) return null;
  if (place.depth > MAX_BODY_DEPTH) throw badRequest("Parse Error", "parseError");
  if (schema.$ref !== undefined) {
    const name = schema.$ref.slice("#/definitions/".length);
    return check(value, definitions[name] ?? {}, place);
  }
  if (schema.type === "array") return checkArray(value, schema.items ?? {}, place);
  if (schema.type === "object") return checkObject(value, schema, place);
  if (schema.type !== undefined && typeof value !== schema.type) throw wrong(place);
  return value;
}

function checkArray(value: unknown, items: JsonSchema, place: Place): unknown[] {
  if (!Array.isArray(value)) throw wrong(place);
  return value
    .filter((item) => item !== null)
    .map((item, index) =>
      check(item, items, { path: `${place.path}[${index}]`, depth: place.depth + 1 }),
    );
}

function checkObject(value: unknown, schema: JsonSchema, place: Place): Record<string, unknown> {
  if (!isRecord(value)) throw wrong(place);
  const kept: Record<string, unknown> = {};
  for (const [name, inner] of Object.entries(value)) {
    const rule =
      (Object.hasOwn(schema.properties ?? {}, name) ? schema.properties?.[name] : undefined) ??
      (typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined);
    if (rule === undefined || name === "__proto__") continue;
    const path = place.path === "" ? name : `${place.path}.${name}`;
    kept[name] = check(inner, rule, { path, depth: place.depth + 1 });
  }
  return kept;
}

function wrong(place: Place): Error {
  return badRequest(`Invalid value for: ${place.path === "" ? "body" : place.path}`, "invalid");
}
