import { Agent, createServer, request as httpRequest } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";

/** One request as it passed on its way to Google. */
export interface PassedRequest {
  readonly atMs: number;
  /** Account, calendar, sync token and page token: what tells one page of one listing from all others; undefined for anything but a page of events. */
  readonly page: string | undefined;
  /** 0 until it was answered to the end. */
  readonly status: number;
}

/** Stands before a Google and writes down who came when, and for which page. */
export interface RequestRecorder {
  /** In place of Google's root URL; ends with a slash. */
  readonly url: string;
  passed(): readonly PassedRequest[];
  inFlight(): number;
  close(): Promise<void>;
}

/** Start a recorder on a free loopback port. */
export async function startRecorder(target: string): Promise<RequestRecorder> {
  const passed: { atMs: number; page: string | undefined; status: number }[] = [];
  const state = { inFlight: 0 };
  const agent = new Agent({ keepAlive: true });
  const { hostname, port } = new URL(target);

  const pass = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    const record = { atMs: performance.now(), page: pageOf(incoming), status: 0 };
    passed.push(record);
    state.inFlight += 1;
    const { method, url: path, headers } = incoming;
    const onward = httpRequest({ hostname, port, method, path, headers, agent }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    onward.on("error", () => {
      outgoing.destroy();
    });
    outgoing.on("finish", () => {
      record.status = outgoing.statusCode;
    });
    outgoing.on("close", () => {
      state.inFlight -= 1;
      onward.destroy();
    });
    incoming.pipe(onward);
  };
  const server = createServer(pass);
  server.keepAliveTimeout = 65_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("Not listening on a port");
  return {
    url: `http://127.0.0.1:${String(address.port)}/`,
    passed: () => passed,
    inFlight: () => state.inFlight,
    async close() {
      agent.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

/** Who asked is told by the credentials: two accounts may see one calendar, and each fetches its own copy. */
function pageOf({ method, url = "", headers }: IncomingMessage): string | undefined {
  const { pathname, searchParams } = new URL(url, "http://google");
  if (method !== "GET" || !/\/calendars\/[^/]+\/events$/.test(pathname)) return undefined;
  const { authorization = "" } = headers;
  const tokens = [searchParams.get("syncToken"), searchParams.get("pageToken")];
  return JSON.stringify([authorization, pathname, ...tokens]);
}

/** How many pages were answered again although they had been answered before. */
export function countFetchedTwice(passed: readonly PassedRequest[]): number {
  const pages = passed.filter(({ page, status }) => page !== undefined && status === 200);
  return pages.length - new Set(pages.map(({ page }) => page)).size;
}
