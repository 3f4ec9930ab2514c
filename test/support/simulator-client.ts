import type { Account } from "../../src/simulator/world.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import { problemsOfAnswer } from "./google-shape.ts";

/** One answer of the simulator, read. */
export interface SimulatorAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: SimulatorBody;
}

/** The parts of an answer's body that tests look at. */
export interface SimulatorBody {
  readonly items?: readonly SimulatorItem[];
  readonly nextPageToken?: string;
  readonly nextSyncToken?: string;
  readonly etag?: string;
  readonly id?: string;
  readonly error?: {
    readonly code: number;
    readonly message: string;
    readonly errors: readonly {
      readonly reason: string;
      readonly domain: string;
      readonly location?: string;
    }[];
  };
}

/** The parts of a listed resource that tests look at. */
export interface SimulatorItem {
  readonly id: string;
  readonly status?: string;
  readonly summary?: string;
  readonly etag?: string;
  readonly recurringEventId?: string;
  readonly originalStartTime?: { readonly date?: string; readonly dateTime?: string };
  readonly start?: { readonly date?: string; readonly dateTime?: string };
  readonly recurrence?: readonly string[];
  readonly deleted?: boolean;
  readonly accessRole?: string;
}

/** A bare HTTP client of one account, so that tests see exactly what is on the wire. */
export interface SimulatorClient {
  readonly account: Account;
  readonly accessToken: string;
  /** Send a request to a path under `calendar/v3/`. */
  send(path: string, init?: RequestInit): Promise<SimulatorAnswer>;
  /** `events.list` of a calendar. */
  list(calendarId: string, query?: Record<string, string>): Promise<SimulatorAnswer>;
  /** `POST` with a JSON body. */
  post(path: string, body: unknown): Promise<SimulatorAnswer>;
}

/** Get an access token for an account and make a client of it. Every answer it gets must have Google's shape. */
export async function connectClient(simulator: Simulator, index = 0): Promise<SimulatorClient> {
  const account = simulator.accounts()[index];
  if (!account) throw new Error(`The simulator has no account ${index}`);
  const response = await requestToken(simulator, { refresh_token: account.refreshToken });
  const { access_token: accessToken } = (await response.json()) as { access_token: string };
  const send: SimulatorClient["send"] = async (path, init = {}) => {
    const headers = new Headers(init.headers);
    if (!headers.has("authorization")) headers.set("authorization", `Bearer ${accessToken}`);
    const answer = await fetch(`${simulator.url}calendar/v3/${path}`, { ...init, headers });
    const text = await answer.text();
    const body = readBody(text);
    const problems = problemsOfAnswer(answer.status, body);
    if (text !== "" && isJson(answer) && problems.length > 0) {
      throw new Error(`${path}: not Google's shape: ${JSON.stringify(problems)}`);
    }
    return { status: answer.status, headers: answer.headers, text, body };
  };
  return {
    account,
    accessToken,
    send,
    list: (calendarId, query = {}) =>
      send(
        `calendars/${encodeURIComponent(calendarId)}/events?${new URLSearchParams(query).toString()}`,
      ),
    post: (path, body) => send(path, { method: "POST", body: JSON.stringify(body) }),
  };
}

/** Ask the token endpoint; a refresh by default. */
export function requestToken(
  simulator: Pick<Simulator, "tokenUrl">,
  form: Record<string, string>,
): Promise<Response> {
  const body = new URLSearchParams({
    grant_type: "refresh_token",
    client_id: "client",
    client_secret: "secret",
    ...form,
  });
  return fetch(simulator.tokenUrl, { method: "POST", body });
}

/** Send a control request and read its answer. */
export async function control<T>(
  simulator: Pick<Simulator, "controlUrl">,
  route: string,
  body?: unknown,
): Promise<T> {
  const [method = "GET", path = ""] = route.split(" ");
  const response = await fetch(`${simulator.controlUrl}${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return (await response.json()) as T;
}

function isJson(answer: Response): boolean {
  return answer.headers.get("content-type")?.startsWith("application/json") ?? false;
}

function readBody(text: string): SimulatorBody {
  try {
    return JSON.parse(text) as SimulatorBody;
  } catch {
    return {};
  }
}
