import { API_OPERATIONS, type ApiOperations, type ApiProblemCode } from "./api-operations.ts";

/** Where Ballast's HTTP server is, and a token of it. */
export interface ApiClientOptions {
  readonly url: string;
  readonly token: string;
  /** For one request, with its answer; 30,000 unless given: a read may wait 15 s for a refresh. */
  readonly timeoutMs?: number;
}

type Name = keyof ApiOperations;

/** Every route of Ballast's HTTP API, by the name of its operation; `docs/failure-modes.md` explains the codes. */
export type ApiClient = {
  readonly [Route in Name]: (
    input: ApiOperations[Route]["input"],
    signal?: AbortSignal,
  ) => Promise<ApiOperations[Route]["answer"]>;
};

/** Ballast refused: `code` says why; `retryAfterMs`, where Ballast said so, when to ask again. */
export class ApiRefused extends Error {
  override readonly name = "ApiRefused";
  readonly code: ApiProblemCode;
  readonly status: number;
  readonly requestId: string;
  readonly retryAfterMs: number | undefined;
  /** Of `changes-forgotten`: the cursor to go on from after everything was read anew. */
  readonly next: string | undefined;

  constructor(
    problem: {
      readonly code: ApiProblemCode;
      readonly title: string;
      readonly detail: string;
      readonly requestId: string;
      readonly next?: unknown;
    },
    answer: { readonly status: number; readonly retryAfterMs: number | undefined },
  ) {
    super(`${problem.title}: ${problem.detail}`);
    this.code = problem.code;
    this.requestId = problem.requestId;
    this.status = answer.status;
    this.retryAfterMs = answer.retryAfterMs;
    this.next = typeof problem.next === "string" ? problem.next : undefined;
  }
}

/** Nothing of Ballast's came back: not reachable, too slow, or something else answers under its address. */
export class ApiUnreachable extends Error {
  override readonly name = "ApiUnreachable";
  readonly code = "BALLAST_API_UNREACHABLE";
}

const TIMEOUT_MS = 30_000;

/** A client of Ballast's HTTP API. It holds nothing: there is nothing to close. It asks once; asking again is yours. */
export function createApiClient(options: ApiClientOptions): ApiClient {
  const names = Object.keys(API_OPERATIONS);
  const methods = names.map((name) => [
    name,
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of `API_OPERATIONS`
    (input: Input, signal?: AbortSignal) => ask(options, { name: name as Name, input, signal }),
  ]);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one method for each of the table's operations; both come from one document
  return Object.fromEntries(methods) as ApiClient;
}

type Input = Readonly<Record<string, unknown>>;

async function ask(
  options: ApiClientOptions,
  asked: { readonly name: Name; readonly input: Input; readonly signal: AbortSignal | undefined },
): Promise<unknown> {
  const { name, input, signal } = asked;
  const { method, hasBody } = API_OPERATIONS[name];
  const timeout = AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS);
  const { address, rest } = addressOf(options.url, name, input);
  let response: Response;
  let text: string;
  try {
    response = await fetch(address, {
      method,
      headers: {
        authorization: `Bearer ${options.token}`,
        ...(hasBody ? { "content-type": "application/json" } : {}),
      },
      ...(hasBody ? { body: JSON.stringify(rest) } : {}),
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
    text = await response.text();
  } catch (error) {
    signal?.throwIfAborted();
    throw new ApiUnreachable(`Ballast did not answer at ${options.url}.`, { cause: error });
  }
  const body = parse(text);
  if (response.ok && body !== undefined) return body;
  throw refusal(response, body) ?? notBallast(options.url, response.status);
}

function addressOf(
  url: string,
  name: Name,
  input: Input,
): { readonly address: string; readonly rest: Input } {
  const { path, inPath, inQuery }: Operation = API_OPERATIONS[name];
  const filled = inPath.reduce(
    (left, field) => left.replace(`{${field}}`, encodeURIComponent(asText(input[field]))),
    path,
  );
  const query = new URLSearchParams();
  for (const field of inQuery) {
    const given = input[field];
    const values: readonly unknown[] = Array.isArray(given) ? given : [given];
    for (const value of values) if (value !== undefined) query.append(field, asText(value));
  }
  const elsewhere = new Set([...inPath, ...inQuery]);
  const rest = Object.fromEntries(Object.entries(input).filter(([key]) => !elsewhere.has(key)));
  const address = `${url.replace(/\/+$/, "")}${filled}${query.size === 0 ? "" : `?${query.toString()}`}`;
  return { address, rest };
}

/** Fields of a path or a query are texts, numbers and truths; anything else is refused by Ballast. */
function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

interface Operation {
  readonly path: string;
  readonly inPath: readonly string[];
  readonly inQuery: readonly string[];
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function refusal(response: Response, body: unknown): ApiRefused | undefined {
  if (!isProblem(body)) return undefined;
  const retryAfter = Number(response.headers.get("retry-after") ?? Number.NaN);
  const retryAfterMs = Number.isNaN(retryAfter) ? undefined : retryAfter * 1_000;
  return new ApiRefused(body, { status: response.status, retryAfterMs });
}

function isProblem(body: unknown): body is ConstructorParameters<typeof ApiRefused>[0] {
  if (typeof body !== "object" || body === null) return false;
  return "code" in body && "title" in body && "detail" in body && "requestId" in body;
}

function notBallast(url: string, status: number): ApiUnreachable {
  return new ApiUnreachable(
    `What answered at ${url} with ${String(status)} is not Ballast: check the address.`,
  );
}
