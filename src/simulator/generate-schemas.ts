/**
 * Writes `google-schemas.json`: the JSON schemas of every resource the simulator sends or takes, read from the type
 * declarations of Google's own client package. Run `node src/simulator/generate-schemas.ts` after that package changes.
 *
 * TypeScript 7 has no compiler API to ask, so this reads the declarations itself; they are generated and very regular, and
 * anything this does not understand stops it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

/** A JSON schema, as far as these need it. */
export interface JsonSchema {
  type?: string;
  $ref?: string;
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: boolean | JsonSchema;
}

const ROOTS = [
  "Calendar",
  "CalendarList",
  "CalendarListEntry",
  "Channel",
  "Event",
  "Events",
  "FreeBusyRequest",
  "FreeBusyResponse",
];

/** Turn the declarations of `v3.d.ts` into schemas: those named in ROOTS and all that they refer to. */
export function generateSchemas(declarations: string): Record<string, JsonSchema> {
  const text = declarations.replaceAll(/\/\*[\s\S]*?\*\//g, "");
  const schemas: Record<string, JsonSchema> = {};
  const wanted = [...ROOTS];
  for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
    if (schemas[name]) continue;
    const header = `export interface Schema$${name} {`;
    const at = text.indexOf(header);
    if (at < 0) throw new Error(`v3.d.ts declares no Schema$${name}`);
    const reader = createReader(text, at + header.length - 1, (other) => {
      wanted.push(other);
    });
    schemas[name] = reader.object();
  }
  return Object.fromEntries(
    Object.entries(schemas).toSorted(([left], [right]) => (left < right ? -1 : 1)),
  );
}

function createReader(
  text: string,
  from: number,
  refer: (name: string) => void,
): { object: () => JsonSchema } {
  let at = from;
  const skipSpace = (): void => {
    while (/\s/.test(text[at] ?? "")) at += 1;
  };
  const take = (pattern: RegExp): string | undefined => {
    skipSpace();
    const match = new RegExp(pattern.source, "y");
    match.lastIndex = at;
    const found = match.exec(text)?.[0];
    at += found?.length ?? 0;
    return found;
  };
  const need = (pattern: RegExp): string => {
    const found = take(pattern);
    if (found !== undefined) return found;
    throw new Error(`v3.d.ts: expected ${pattern.source} at: ${text.slice(at, at + 60)}`);
  };
  const object = (): JsonSchema => {
    need(/\{/);
    if (take(/\[key: string\]:/) !== undefined) {
      const values = type();
      need(/;/);
      need(/\}/);
      return { type: "object", additionalProperties: values };
    }
    const properties: Record<string, JsonSchema> = {};
    while (take(/\}/) === undefined) {
      const name = need(/[A-Za-z0-9_$]+/);
      need(/\?:/);
      properties[name] = type();
      need(/;/);
    }
    return { type: "object", properties, additionalProperties: false };
  };
  const single = (): JsonSchema => {
    skipSpace();
    if (text[at] === "{") return object();
    const name = need(/(?:Schema\$)?[A-Za-z0-9]+/);
    if (name === "string" || name === "number" || name === "boolean") return { type: name };
    if (name === "any") return {};
    if (!name.startsWith("Schema$")) throw new Error(`v3.d.ts: unknown type ${name}`);
    refer(name.slice(7));
    return { $ref: `#/definitions/${name.slice(7)}` };
  };
  const type = (): JsonSchema => {
    const base = single();
    const schema: JsonSchema = take(/\[\]/) === undefined ? base : { type: "array", items: base };
    // The types allow null because requests may clear a field with it; answers never hold one.
    take(/\| null/);
    return schema;
  };
  return { object };
}

/** Where the installed client package keeps its declarations. */
export function readDeclarations(): string {
  const main = createRequire(import.meta.url).resolve("@googleapis/calendar");
  return readFileSync(new URL("v3.d.ts", `file://${main}`), "utf8");
}

if (import.meta.main) {
  const schemas = { definitions: generateSchemas(readDeclarations()) };
  const target = new URL("google-schemas.json", import.meta.url);
  writeFileSync(target, `${JSON.stringify(schemas, undefined, 2)}\n`);
}
