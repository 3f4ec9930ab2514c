/** The OpenAPI document as those read it who ask every route: fields, what they name, examples. */
import { createApiDocument } from "../../../src/http/api-document.ts";
import { API_ROUTES } from "../../../src/http/api-routes.ts";
import type { Inhabitant } from "./api-world.ts";

export interface Field {
  readonly place: "path" | "query" | "body";
  readonly name: string;
  readonly isRequired: boolean;
  readonly isList: boolean;
  /** What it names; undefined: nothing of anybody's. */
  readonly names: string | undefined;
  readonly example: unknown;
}

/** A route, once for each form that its body may have. */
export interface Operation {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly scope: string;
  readonly isForOperators: boolean;
  readonly fields: readonly Field[];
}

type Json = Readonly<Record<string, unknown>>;

/** Every route of the table. */
export function readOperations(): readonly Operation[] {
  const { paths } = createApiDocument(API_ROUTES);
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, described]) => {
      const parameters = (described["parameters"] ?? []) as readonly Json[];
      const own = {
        name: String(described["operationId"]),
        method: method.toUpperCase(),
        path,
        scope: String(described["x-scope"]),
        isForOperators: described["x-for"] === "operators",
      };
      const fields = parameters
        .filter((one) => one["in"] !== "header")
        .map((one) =>
          fieldOf(String(one["name"]), one["schema"] as Json, {
            place: one["in"] as "path" | "query",
            isRequired: one["required"] === true,
          }),
        );
      return bodiesOf(described).map((body) =>
        Object.assign({ fields: [...fields, ...body] }, own),
      );
    }),
  );
}

function bodiesOf(described: Json): readonly (readonly Field[])[] {
  const content = (described["requestBody"] as Json | undefined)?.["content"] as Json | undefined;
  const schema = (content?.["application/json"] as Json | undefined)?.["schema"] as
    Json | undefined;
  if (schema === undefined) return [[]];
  const forms = (schema["anyOf"] ?? [schema]) as readonly Json[];
  return forms.map((form) => {
    const required = new Set((form["required"] ?? []) as readonly string[]);
    return Object.entries((form["properties"] ?? {}) as Record<string, Json>).map(
      ([name, property]) =>
        fieldOf(name, property, { place: "body", isRequired: required.has(name) }),
    );
  });
}

function fieldOf(name: string, schema: Json, more: Pick<Field, "place" | "isRequired">): Field {
  const items = schema["items"] as Json | undefined;
  const one = items ?? schema;
  const names = one["x-names"];
  return {
    ...more,
    name,
    isList: items !== undefined,
    names: typeof names === "string" ? names : undefined,
    example: one["example"] ?? schema["default"],
  };
}

/** How what belongs to a tenant is named in a field of this kind. */
export function namesOf(inhabitant: Inhabitant, kind: string): readonly string[] {
  const known: Readonly<Record<string, readonly string[]>> = {
    tenant: [inhabitant.tenant],
    account: [inhabitant.account],
    "account-name": [inhabitant.accountName],
    calendar: inhabitant.calendars,
    "google-calendar": inhabitant.googleIds,
  };
  const names = known[kind];
  if (names === undefined) throw new Error(`Nobody knows what ${kind} names: say it here`);
  return names;
}
