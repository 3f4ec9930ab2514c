import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** One request as it arrived. */
export interface Arrival {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export type Answer =
  | {
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string | Buffer;
    }
  /** Begin a body, and never end it. */
  | {
      readonly status: number;
      readonly headers: Record<string, string>;
      readonly partial: string;
    }
  /** Cut the connection without a word. */
  | { readonly cut: true }
  /** Never answer. */
  | { readonly hang: true };

/** A server that answers each request by `answer` and remembers all of them. */
export interface ScriptedServer {
  readonly url: string;
  readonly arrivals: Arrival[];
  /** Connections opened so far. */
  connections(): number;
  close(): Promise<void>;
}

export async function startScriptedServer(
  answer: (arrival: Arrival, count: number) => Answer,
): Promise<ScriptedServer> {
  const arrivals: Arrival[] = [];
  let connections = 0;
  const respond = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
    });
    request.on("end", () => {
      const arrival: Arrival = {
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers,
        body: Buffer.concat(chunks).toString("utf8"),
      };
      arrivals.push(arrival);
      const given = answer(arrival, arrivals.length);
      if ("hang" in given) return;
      if ("cut" in given) {
        request.socket.destroy();
        return;
      }
      if ("partial" in given) {
        response.writeHead(given.status, given.headers);
        response.write(given.partial);
        return;
      }
      response.writeHead(given.status, given.headers ?? { "content-type": "application/json" });
      response.end(given.body);
    });
  };
  const server = createServer(respond);
  server.on("connection", () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    arrivals,
    connections: () => connections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
