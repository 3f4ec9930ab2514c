import { badParameter } from "./google-error.ts";

/** A parsed `fields` parameter: the names kept at one level; `true` keeps everything below. */
export type FieldMask = ReadonlyMap<string, FieldMask | true>;

const parsed = new Map<string, FieldMask>();
const REMEMBERED = 200;

/** Parse Google's partial-response syntax (`a,b/c,items(id,start/dateTime)`, `*`); 400 when it is malformed. */
export function parseFieldMask(text: string): FieldMask {
  const known = parsed.get(text);
  if (known) return known;
  let at = 0;
  const fail = (): never => {
    throw badParameter("fields", `Invalid field selection ${text}`, "invalidParameter");
  };
  const level = (depth: number): Map<string, FieldMask | true> => {
    if (depth > 20) fail();
    const mask = new Map<string, FieldMask | true>();
    do {
      const name = /^[A-Za-z0-9_*.-]+/.exec(text.slice(at, at + 100))?.[0] ?? fail();
      at += name.length;
      const next = text[at];
      if (next !== "/" && next !== "(") {
        mask.set(name, true);
        continue;
      }
      at += 1;
      const below = next === "/" ? path(depth + 1) : level(depth + 1);
      if (next === "(" && text[at++] !== ")") fail();
      mask.set(name, merge(mask.get(name), below));
    } while (text[at] === "," && ++at > 0);
    return mask;
  };
  const path = (depth: number): Map<string, FieldMask | true> => {
    const name = /^[A-Za-z0-9_*.-]+/.exec(text.slice(at, at + 100))?.[0] ?? fail();
    at += name.length;
    if (text[at] === "/") {
      at += 1;
      return new Map([[name, path(depth + 1)]]);
    }
    if (text[at] !== "(") return new Map([[name, true as const]]);
    at += 1;
    const below = level(depth + 1);
    if (text[at++] !== ")") fail();
    return new Map([[name, below]]);
  };
  const mask = level(0);
  if (at !== text.length) fail();
  if (parsed.size >= REMEMBERED) parsed.clear();
  parsed.set(text, mask);
  return mask;
}

function merge(
  left: FieldMask | true | undefined,
  right: ReadonlyMap<string, FieldMask | true>,
): FieldMask | true {
  if (left === true) return true;
  return new Map([...(left ?? []), ...right]);
}

/** What is left of a value under a mask. */
export function applyFieldMask(value: unknown, mask: FieldMask | true): unknown {
  if (mask === true || value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item) => applyFieldMask(item, mask));
  const everything = mask.get("*");
  const kept: Record<string, unknown> = {};
  for (const [name, inner] of Object.entries(value)) {
    const wanted = mask.get(name) ?? everything;
    if (wanted !== undefined) kept[name] = applyFieldMask(inner, wanted);
  }
  return kept;
}
