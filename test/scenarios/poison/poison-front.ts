import { Agent, createServer, request as httpRequest } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";

/** What a calendar of Google's can be like, each as it took a service down somewhere. */
export type Poison =
  /** Page tokens that lead in a circle. */
  | "endless"
  /** Empty pages without an end. */
  | "endless-empty"
  /** Each page token is dead when it is used. */
  | "dead-page-token"
  /** Each sync token is dead when it is used, and each full read brings something new. */
  | "token-loop"
  /** Events of which no field has the type that it should. */
  | "wrong-types"
  /** An event without an id. */
  | "missing-ids"
  /** One event is larger than any body may be. */
  | "huge"
  /** The answer never begins. */
  | "hung"
  /** The answer never ends: a byte now and then. */
  | "drip"
  /** Google refuses every request for it. */
  | "refused";

/** Stands before the simulator and answers for the calendars that are poisoned. */
export interface PoisonFront {
  /** In place of Google's root URL; ends with a slash. */
  readonly url: string;
  poison(googleId: string, kind: Poison): void;
  /** How many requests each kind has answered: the proof that it struck. */
  struck(kind: Poison): number;
  /** How many requests for a watch have come. */
  watches(): number;
  /** How many requests for tokens have come. */
  tokens(): number;
  close(): Promise<void>;
}

const DRIP_MS = 100;
const HUGE_BYTES = 9 * 1024 * 1024;
const EVENTS_PATH = /\/calendars\/([^/]+)\/events$/;

/** Start it on a free loopback port, before the Google at `target`. */
export async function startPoisonFront(target: string): Promise<PoisonFront> {
  const poisons = new Map<string, Poison>();
  const struck = new Map<Poison, number>();
  const seen = { watches: 0, tokens: 0 };
  const pass = createPassage(target);

  const handle = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    outgoing.on("error", ignoreHangUp);
    const { pathname, searchParams } = new URL(incoming.url ?? "", "http://google");
    if (pathname.endsWith("/events/watch")) seen.watches += 1;
    if (pathname === "/token") seen.tokens += 1;
    const calendar = EVENTS_PATH.exec(pathname)?.[1];
    const kind = calendar === undefined ? undefined : poisons.get(decodeURIComponent(calendar));
    if (kind === undefined) {
      pass.forward(incoming, outgoing);
      return;
    }
    const count = (struck.get(kind) ?? 0) + 1;
    struck.set(kind, count);
    ANSWERS[kind](outgoing, { count, searchParams });
  };
  const server = createServer(handle);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("Not listening on a port");
  return {
    url: `http://127.0.0.1:${String(address.port)}/`,
    poison: (googleId, kind) => {
      poisons.set(googleId, kind);
    },
    struck: (kind) => struck.get(kind) ?? 0,
    watches: () => seen.watches,
    tokens: () => seen.tokens,
    async close() {
      pass.close();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

interface Asked {
  /** The how manieth request of its kind. */
  readonly count: number;
  readonly searchParams: URLSearchParams;
}

const ANSWERS: Readonly<Record<Poison, (outgoing: ServerResponse, asked: Asked) => void>> = {
  endless: (outgoing, { count }) =>
    json(outgoing, 200, {
      items: [eventOf(`event${String(count)}`)],
      nextPageToken: `page-${String(count % 5)}`,
    }),
  "endless-empty": (outgoing, { count }) =>
    json(outgoing, 200, { items: [], nextPageToken: `page-${String(count)}` }),
  "dead-page-token": (outgoing, { count, searchParams }) =>
    searchParams.has("pageToken")
      ? refuse(outgoing, { status: 400, reason: "invalid", location: "pageToken" })
      : json(outgoing, 200, { items: [eventOf("first")], nextPageToken: `page-${String(count)}` }),
  "token-loop": (outgoing, { count, searchParams }) =>
    searchParams.has("syncToken")
      ? refuse(outgoing, { status: 410, reason: "fullSyncRequired" })
      : json(outgoing, 200, {
          items: [eventOf(`event${String(count)}`)],
          nextSyncToken: `sync-${String(count)}`,
        }),
  "wrong-types": (outgoing, { count }) =>
    json(outgoing, 200, {
      items: [...ODD_EVENTS, eventOf("neighbour")],
      nextSyncToken: `sync-${String(count)}`,
    }),
  "missing-ids": (outgoing, { count }) =>
    json(outgoing, 200, {
      items: [{ summary: "nobody" }, eventOf("neighbour")],
      nextSyncToken: `sync-${String(count)}`,
    }),
  huge: (outgoing) => {
    outgoing.writeHead(200, { "content-type": "application/json" });
    outgoing.end(HUGE);
  },
  hung: () => {
    // Nothing is ever said.
  },
  drip: (outgoing) => {
    outgoing.writeHead(200, { "content-type": "application/json" });
    outgoing.write('{"items":[');
    const timer = setInterval(() => {
      outgoing.write(" ");
    }, DRIP_MS);
    outgoing.on("close", () => clearInterval(timer));
  },
  refused: (outgoing) => refuse(outgoing, { status: 400, reason: "invalid" }),
};

const ODD_EVENTS: readonly unknown[] = [
  { id: "odd1", start: 7, end: [], status: {}, recurrence: "RRULE" },
  { id: "odd2", start: { dateTime: {}, date: [] }, attendees: "all", etag: 5, updated: {} },
  { id: "odd3", recurrence: [null, 7, "RRULE:", "RDATE:x,y"], recurringEventId: 9 },
  { id: "odd4", start: { dateTime: "-271821-04-20T00:00:00Z" }, end: { date: "+275760-09-13" } },
  { id: "odd5", summary: "\u{0}\u{d800}", originalStartTime: "soon", transparency: 1 },
];

function eventOf(id: string): Record<string, unknown> {
  return {
    id,
    etag: `"${id}"`,
    status: "confirmed",
    summary: id,
    start: { dateTime: "2026-03-25T10:00:00Z" },
    end: { dateTime: "2026-03-25T11:00:00Z" },
  };
}

/** Written once: this process is the one that is watched, too. */
const HUGE = JSON.stringify({
  items: [{ ...eventOf("huge"), description: "x".repeat(HUGE_BYTES) }],
  nextSyncToken: "sync",
});

function json(outgoing: ServerResponse, status: number, body: unknown): void {
  outgoing.writeHead(status, { "content-type": "application/json" });
  outgoing.end(JSON.stringify(body));
}

function refuse(
  outgoing: ServerResponse,
  refusal: { readonly status: number; readonly reason: string; readonly location?: string },
): void {
  const { status, reason, location } = refusal;
  const error = {
    domain: "global",
    reason,
    message: reason,
    ...(location === undefined ? {} : { locationType: "parameter", location }),
  };
  json(outgoing, status, { error: { errors: [error], code: status, message: reason } });
}

/** A client that hangs up on a drip is what is hoped for. */
function ignoreHangUp(): void {
  // Nothing to do.
}

function createPassage(target: string): {
  forward(incoming: IncomingMessage, outgoing: ServerResponse): void;
  close(): void;
} {
  const { hostname, port } = new URL(target);
  const agent = new Agent({ keepAlive: true });
  return {
    forward(incoming, outgoing) {
      const { method, url: path, headers } = incoming;
      const onward = httpRequest({ hostname, port, method, path, headers, agent }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      });
      onward.on("error", () => {
        outgoing.destroy();
      });
      outgoing.on("close", () => {
        onward.destroy();
      });
      incoming.pipe(onward);
    },
    close: () => agent.destroy(),
  };
}
