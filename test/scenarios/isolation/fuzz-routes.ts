import { Ajv2020 } from "ajv/dist/2020.js";
import * as fc from "fast-check";
import { createApiDocument, type ApiDocument } from "../../../src/http/api-document.ts";
import { API_ROUTES } from "../../../src/http/api-routes.ts";
import { pause } from "../wait-until.ts";
import { OPERATORS, type ApiWorld } from "./api-world.ts";
import { namesOf, readOperations, type Field, type Operation } from "./read-document.ts";
import { createSender, type Answered, type Asked } from "./send-request.ts";

/** What fuzzing came to. */
export interface Fuzzed {
  readonly routes: number;
  readonly runs: number;
  readonly accepted: number;
  readonly refused: number;
  /** The first request, made small, for which it did not hold, by route. */
  readonly failures: readonly string[];
}

/**
 * Requests between well formed and nonsense, for every route and for Google's notifications. Each must be answered
 * below 500, as the document says; a refused one must have stored nothing.
 */
export async function fuzzRoutes(
  world: ApiWorld,
  options: { readonly runs: number; readonly seed: number; readonly say: (line: string) => void },
): Promise<Fuzzed> {
  const sender = createSender(world.server.url);
  const judge = createJudge();
  const targets = await targetsOf(world);
  const failures: string[] = [];
  const counts = { accepted: 0, refused: 0, runs: 0 };
  try {
    for (const { name, requests } of targets) {
      const property = fc.asyncProperty(requests, async (asked) => {
        const before = world.dataVersion();
        const answer = await sender.send(asked);
        counts.runs += 1;
        const isRefused = answer.status >= 400;
        counts[isRefused ? "refused" : "accepted"] += 1;
        judge(name, answer);
        if (isRefused && world.dataVersion() !== before) throw new Error("Something was stored");
      });
      const { runs: numRuns, seed } = options;
      const details = await fc.check(property, { numRuns, seed, endOnFailure: false });
      if (!details.failed) continue;
      const why = details.errorInstance instanceof Error ? details.errorInstance.message : "?";
      failures.push(`${name}: ${why}: ${JSON.stringify(details.counterexample).slice(0, 2_000)}`);
      options.say(failures.at(-1) ?? "");
    }
  } finally {
    sender.close();
  }
  return { routes: targets.length, ...counts, failures };
}

interface Target {
  readonly name: string;
  readonly requests: fc.Arbitrary<Asked>;
}

async function targetsOf(world: ApiWorld): Promise<readonly Target[]> {
  const [own] = world.inhabitants;
  const tokens = [
    await world.tokenOf(own.tenant, ["read", "refresh"]),
    await world.tokenOf(own.tenant, ["read"]),
    ...Object.values(OPERATORS),
  ];
  await useOnce(world, tokens);
  const byName = Map.groupBy(readOperations(), ({ name }) => name);
  return [
    ...[...byName].map(([name, forms]) => ({
      name,
      requests: fc.oneof(...forms.map((form) => requestsTo(form, { world, tokens }))),
    })),
    { name: NOTIFICATIONS, requests: notifications(world) },
  ];
}

/** That a token is used is noted once an hour: before the fuzz, so that it is not taken for something else. */
async function useOnce(world: ApiWorld, tokens: readonly string[]): Promise<void> {
  for (const token of tokens) {
    await fetch(`${world.server.url}/v1/tenants`, {
      headers: { authorization: `Bearer ${token}` },
    });
  }
  const deadlineMs = performance.now() + 60_000;
  while ((await world.store.tokens.list({ limit: 1_000 })).some((row) => isUnnoted(row, tokens))) {
    if (performance.now() > deadlineMs) throw new Error("The use of a token was not noted");
    await pause(50);
  }
}

function isUnnoted(
  row: { readonly id: string; readonly lastUsedAt: unknown },
  tokens: readonly string[],
): boolean {
  return row.lastUsedAt === undefined && tokens.some((token) => token.startsWith(`${row.id}.`));
}

const garbage = fc.oneof(
  fc.string({ maxLength: 40 }),
  // Any code points, lone surrogates too; fast-check's own unit for that takes seconds to set up.
  fc
    .array(fc.integer({ min: 0, max: 0x10_ff_ff }), { maxLength: 20 })
    .map((points) => String.fromCodePoint(...points)),
  fc.constantFrom("", "0", "-1", "1e9", "null", "[]", "%00", "../..", "__proto__", "2026-02-30"),
  fc.constantFrom("cal_", "acc_", "cal_0000000000", "9".repeat(400), "x".repeat(5_000)),
);

interface Own {
  readonly world: ApiWorld;
  readonly tokens: readonly string[];
}

function requestsTo(operation: Operation, own: Own): fc.Arbitrary<Asked> {
  const of = (place: Field["place"]): readonly Field[] =>
    operation.fields.filter((field) => field.place === place);
  return fc.record({
    method: fc.constant(operation.method),
    path: fc
      .tuple(
        fc.tuple(...of("path").map((field) => valueOf(field, own))),
        fieldsOf(of("query"), own),
        fc.oneof({ weight: 9, arbitrary: fc.constant("") }, oddities),
      )
      .map(([params, query, odd]) => address(operation, { params, query, odd })),
    headers: headersOf(own),
    body: of("body").length === 0 ? fc.constant(undefined) : bodyOf(of("body"), own),
  });
}

/** Characters that a client may send in an address, and a server has to live with. */
const oddities = fc.constantFrom("%zz", "%", "/", "//", "?", "#a", "%2e%2e", "&&&=", "&x[]=1");

function address(
  { path, fields }: Operation,
  parts: {
    readonly params: readonly unknown[];
    readonly query: readonly (readonly [string, unknown])[];
    readonly odd: string;
  },
): string {
  const names = fields.filter(({ place }) => place === "path").map(({ name }) => name);
  const filled = names.reduce(
    (left, name, at) => left.replace(`{${name}}`, encoded(parts.params[at])),
    path,
  );
  const query = parts.query.flatMap(([name, value]) =>
    [value].flat().map((one) => `${encoded(name)}=${encoded(one)}`),
  );
  return `${filled}${query.length === 0 ? "" : `?${query.join("&")}`}${parts.odd}`;
}

function encoded(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return encodeURIComponent(text.toWellFormed());
}

function valueOf(field: Field, { world }: Own): fc.Arbitrary<unknown> {
  const known =
    field.names === undefined
      ? [field.example ?? "1"]
      : world.inhabitants.flatMap((one) => namesOf(one, field.names ?? ""));
  const right = fc.constantFrom(...known);
  const one = fc.oneof({ weight: 6, arbitrary: right }, { weight: 1, arbitrary: garbage });
  return field.isList ? fc.array(one, { maxLength: 4 }) : one;
}

/** Mostly what is needed; some of it left out, some of it twice, some unheard of. */
function fieldsOf(
  fields: readonly Field[],
  own: Own,
): fc.Arbitrary<readonly (readonly [string, unknown])[]> {
  const each = fields.map((field) =>
    fc.oneof(
      {
        weight: field.isRequired ? 12 : 3,
        arbitrary: valueOf(field, own).map((value) => [[field.name, value] as const]),
      },
      { weight: field.isRequired ? 1 : 9, arbitrary: fc.constant([]) },
      {
        weight: 1,
        arbitrary: fc
          .tuple(valueOf(field, own), garbage)
          .map(([value, odd]) => [[field.name, value] as const, [field.name, odd] as const]),
      },
    ),
  );
  const unheard = fc.oneof(
    { weight: 12, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.tuple(garbage, garbage).map((pair) => [pair]) },
  );
  return fc.tuple(...each, unheard).map((lists) => lists.flat());
}

function headersOf({ tokens }: Own): fc.Arbitrary<Record<string, string>> {
  const headerText = fc
    .string({ maxLength: 60 })
    .map((text) => text.replaceAll(/[^\x21-\x7e]/g, "~"));
  return fc
    .record({
      authorization: fc.oneof(
        { weight: 12, arbitrary: fc.constantFrom(...tokens).map((token) => `Bearer ${token}`) },
        { weight: 1, arbitrary: headerText },
        { weight: 1, arbitrary: headerText.map((text) => `Bearer ${text}`) },
      ),
      "content-type": fc.oneof(
        { weight: 12, arbitrary: fc.constant("application/json") },
        { weight: 1, arbitrary: fc.constantFrom("text/plain", "application/xml", "a/b; c") },
      ),
      "if-none-match": fc.oneof(fc.constant("*"), headerText),
      "x-request-id": headerText,
    })
    .map((headers): Record<string, string> => headers);
}

function bodyOf(fields: readonly Field[], own: Own): fc.Arbitrary<string> {
  const sensible = fieldsOf(fields, own).map((pairs) => JSON.stringify(Object.fromEntries(pairs)));
  return fc.oneof(
    { weight: 12, arbitrary: sensible },
    { weight: 2, arbitrary: fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.stringify(value)) },
    { weight: 1, arbitrary: garbage },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "",
        "{",
        '{"__proto__":{"a":1}}',
        '{"constructor":{"prototype":{}}}',
        "[".repeat(20_000),
        `"${"x".repeat(70_000)}"`,
      ),
    },
  );
}

const NOTIFICATIONS = "POST /google/notifications";

function notifications(world: ApiWorld): fc.Arbitrary<Asked> {
  const id = fc.oneof(
    fc.constantFrom("channel-1", "unknown", "x".repeat(70)),
    fc.string({ maxLength: 70 }).map((text) => text.replaceAll(/[^\x21-\x7e]/g, "~")),
  );
  const header = fc.string({ maxLength: 300 }).map((text) => text.replaceAll(/[^\x21-\x7e]/g, "~"));
  return fc
    .record({
      id,
      isOurs: fc.boolean(),
      token: header,
      state: fc.oneof(fc.constantFrom("exists", "sync", "not_exists", ""), header),
      leftOut: fc.subarray(["x-goog-channel-id", "x-goog-channel-token", "x-goog-resource-state"], {
        maxLength: 1,
      }),
      body: fc.oneof(fc.constant(undefined), garbage, fc.constant("x".repeat(5_000))),
      type: fc.constantFrom("application/json", "text/plain", "a/b"),
    })
    .map(({ id: channel, isOurs, token, state, leftOut, body, type }) => ({
      method: "POST",
      path: "/google/notifications",
      headers: without(
        {
          "content-type": type,
          "x-goog-channel-id": channel,
          "x-goog-channel-token": isOurs ? world.pushTokenOf(channel) : token,
          "x-goog-resource-state": state,
        },
        leftOut,
      ),
      body,
    }));
}

function without(
  headers: Readonly<Record<string, string>>,
  names: readonly string[],
): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name)));
}

/** What the document says about a route, and about no route at all. */
function createJudge(): (name: string, answer: Answered) => void {
  const document = createApiDocument(API_ROUTES);
  const byName = new Map(
    Object.values(document.paths)
      .flatMap((methods) => Object.values(methods))
      .map((described) => [String(described["operationId"]), responsesOf(described, document)]),
  );
  return (name, answer) => {
    const { status, body } = answer;
    if (status >= 500) throw new Error(`Answered ${String(status)}: ${body.slice(0, 500)}`);
    if (status === 304 || status === 204) return;
    const value: unknown = JSON.parse(body);
    if (status >= 400 && isElsewhere(name, answer, value)) return;
    const check = byName.get(name)?.get(status);
    if (check === undefined) throw new Error(`${String(status)} is not in the document: ${body}`);
    const problem = check(value);
    if (problem !== undefined) throw new Error(`${problem} in ${body.slice(0, 500)}`);
  };
}

/** An address that was bent may be no route's, or another's; notifications are not in the document. */
function isElsewhere(name: string, { headers, body }: Answered, value: unknown): boolean {
  if (!String(headers["content-type"]).startsWith("application/problem+json")) {
    throw new Error(`A problem of another type: ${body}`);
  }
  const { code } = value as { readonly code: string };
  return name === NOTIFICATIONS || ELSEWHERE.has(code);
}

const ELSEWHERE = new Set(["route-unknown", "bad-request"]);

type Check = (value: unknown) => string | undefined;

function responsesOf(
  described: Readonly<Record<string, unknown>>,
  document: ApiDocument,
): ReadonlyMap<number, Check> {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  const responses = described["responses"] as Record<
    string,
    { readonly content?: Readonly<Record<string, { readonly schema: object }>> }
  >;
  return new Map(
    Object.entries(responses).flatMap(([status, { content = {} }]): [number, Check][] => {
      const [media] = Object.values(content);
      if (media === undefined) return [];
      // Compiled when it is met: most are not.
      let validate: ReturnType<typeof ajv.compile> | undefined;
      const check: Check = (value) => {
        validate ??= ajv.compile({ ...media.schema, components: document.components });
        return validate(value) ? undefined : ajv.errorsText(validate.errors);
      };
      return [[Number(status), check]];
    }),
  );
}
