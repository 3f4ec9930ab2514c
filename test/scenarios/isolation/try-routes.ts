import { systemClock } from "../../../src/core/clock.ts";
import type { ApiWorld, Inhabitant } from "./api-world.ts";
import { namesOf, readOperations, type Field, type Operation } from "./read-document.ts";
import { createSender, type Answered, type Asked } from "./send-request.ts";

/** What trying every route came to. */
export interface Tries {
  readonly routes: number;
  readonly tried: number;
  /** Each an answer that told something of another tenant's, or told it apart from what does not exist. */
  readonly leaks: readonly string[];
}

interface Token {
  readonly kind: string;
  readonly value: string | undefined;
}

/**
 * Ask every route, with every kind of token of one tenant, about everything of the others that it takes a name of. An
 * answer about another's must be, word for word, the answer about what does not exist, and nothing of another's may
 * stand in any answer. What another has must be as it was.
 */
export async function tryRoutes(world: ApiWorld): Promise<Tries> {
  const [own, ...others] = world.inhabitants;
  const tokens = await tokensOf(world, own);
  const operations = readOperations();
  const sender = createSender(world.server.url);
  const leaks: string[] = [];
  let tried = 0;
  const before = await stateOf(world, others);
  try {
    for (const operation of operations) {
      for (const token of tokens) {
        const attempts = others.flatMap((other) => attemptsOn(operation, { own, other }));
        for (const one of attempts) {
          tried += 1;
          const answer = await sender.send(toRequest(operation, one.values, token));
          const twin = await sender.send(toRequest(operation, one.twin, token));
          const seen = telltale(answer, one);
          const expected = telltale(twin, one);
          if (seen === expected && !holds(answer, one)) continue;
          leaks.push(
            `${operation.name} with ${token.kind}, ${one.what}: ${seen} instead of ${expected}`,
          );
        }
      }
    }
  } finally {
    sender.close();
  }
  if ((await stateOf(world, others)) !== before) leaks.push("What another tenant has was changed");
  return { routes: new Set(operations.map(({ name }) => name)).size, tried, leaks };
}

async function tokensOf(world: ApiWorld, own: Inhabitant): Promise<readonly Token[]> {
  const sets = [[], ["read"], ["refresh"], ["read", "refresh"], ["read", "refresh", "operate"]];
  const tokens: Token[] = [
    { kind: "no token", value: undefined },
    { kind: "an unknown token", value: "nobody" },
  ];
  for (const scopes of sets) {
    const kind = `a token for ${scopes.length === 0 ? "nothing" : scopes.join(" and ")}`;
    tokens.push({ kind, value: await world.tokenOf(own.tenant, scopes) });
  }
  const revoked = await world.tokenOf(own.tenant, ["read", "refresh"]);
  const by = { actor: "olga", now: systemClock.now() };
  await world.store.tokens.revoke(revoked.split(".")[0] ?? "", by);
  return [...tokens, { kind: "a revoked token", value: revoked }];
}

type Values = ReadonlyMap<Field, unknown>;

interface Attempt {
  readonly what: string;
  readonly values: Values;
  /** The same about what does not exist. */
  readonly twin: Values;
  /** What was asked about: it may come back in an answer, and says nothing. */
  readonly asked: readonly string[];
  readonly other: Inhabitant;
}

/** One for each name of another's in each field, for all such fields at once, and one that names nothing of theirs. */
function attemptsOn(
  operation: Operation,
  { own, other }: { readonly own: Inhabitant; readonly other: Inhabitant },
): readonly Attempt[] {
  const base = ownValues(operation, own);
  const slots = operation.fields.filter(({ names }) => names !== undefined);
  const single = slots.flatMap((field) =>
    namesOf(other, field.names ?? "").flatMap((name) => {
      const sets = field.isList ? [[name], [...listOf(base.get(field)), name]] : [[name]];
      return sets.map((set) => attempt({ base, other }, [[field, set]]));
    }),
  );
  const all = slots.map((field): [Field, string[]] => [
    field,
    [namesOf(other, field.names ?? "")[0] ?? ""],
  ]);
  const together = all.length > 1 ? [attempt({ base, other }, all)] : [];
  // A removal of what is one's own would end the trying.
  const plain = operation.method === "GET" ? [attempt({ base, other }, [])] : [];
  return [...single, ...together, ...plain];
}

function attempt(
  { base, other }: { readonly base: Values; readonly other: Inhabitant },
  slots: readonly (readonly [Field, readonly string[]])[],
): Attempt {
  const values = new Map(base);
  const twin = new Map(base);
  const asked: string[] = [];
  for (const [field, names] of slots) {
    const theirs = names.at(-1) ?? "";
    // Right behind it in any order: a cursor made of it stands at the same place.
    const absent = `${theirs}0`;
    asked.push(absent, theirs);
    values.set(field, field.isList ? names : theirs);
    twin.set(field, field.isList ? [...names.slice(0, -1), absent] : absent);
  }
  const what =
    slots.map(([{ place, name }, names]) => `${place} ${name}=${names.join()}`).join(", ") ||
    "its own things";
  return { what, values, twin, asked, other };
}

function ownValues(operation: Operation, own: Inhabitant): Values {
  const values = new Map<Field, unknown>();
  for (const field of operation.fields) {
    if (!field.isRequired) continue;
    const value = field.names === undefined ? field.example : namesOf(own, field.names)[0];
    if (value === undefined) {
      throw new Error(`${operation.name}: ${field.name} is required and has no example`);
    }
    values.set(field, field.isList ? [value] : value);
  }
  return values;
}

function listOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

/** The request that these values make. */
export function toRequest(
  { method, path, fields }: Operation,
  values: Values,
  { value: token }: Pick<Token, "value">,
): Asked {
  let address = path;
  const query = new URLSearchParams();
  const body: Record<string, unknown> = {};
  for (const [field, value] of values) {
    if (field.place === "body") body[field.name] = value;
    else if (field.place === "path") {
      address = address.replace(`{${field.name}}`, encodeURIComponent(String(value)));
    } else for (const one of [value].flat()) query.append(field.name, String(one));
  }
  const hasBody = fields.some(({ place }) => place === "body");
  return {
    method,
    path: query.size === 0 ? address : `${address}?${query.toString()}`,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(hasBody ? { "content-type": "application/json" } : {}),
    },
    body: hasBody ? JSON.stringify(body) : undefined,
  };
}

/** An answer without what differs between any two: request ids, ages, and the name that was asked about. */
function telltale(answer: Answered, { asked }: Attempt): string {
  const text = withoutAsked(answer.body, asked)
    .replaceAll(/"requestId":"[^"]*"/g, "")
    .replaceAll(/"ageMs":\d+/g, "");
  return `${String(answer.status)} ${text}`;
}

function withoutAsked(text: string, asked: readonly string[]): string {
  return asked.reduce((left, name) => left.replaceAll(name, "ASKED"), text);
}

function holds({ body }: Answered, { asked, other }: Attempt): boolean {
  const text = withoutAsked(body, asked);
  const theirs = [other.word, other.account, ...other.calendars, `"${other.tenant}"`];
  return theirs.some((name) => text.includes(name));
}

async function stateOf(world: ApiWorld, others: readonly Inhabitant[]): Promise<string> {
  const rows = [];
  for (const { account, calendars } of others) {
    const { state, connectedAt } = (await world.store.accounts.get(account)) ?? {};
    rows.push({ state, connectedAt });
    for (const id of calendars) {
      const row = await world.store.calendars.get(id);
      rows.push({ requested: row?.requested, dueAt: row?.dueAt, generation: row?.generation });
    }
  }
  const tenants = await world.store.tenants.list({ limit: 100 });
  return JSON.stringify([rows, tenants]);
}
