import { Agent, request } from "node:http";
import { text } from "node:stream/consumers";

/** A request as it goes out, whether or not it makes sense. */
export interface Asked {
  readonly method: string;
  /** With the query; only characters that can stand in a request line. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

export interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string;
}

/** Sends over a few connections that are kept; whoever makes it closes it. */
export function createSender(url: string): {
  send(asked: Asked): Promise<Answered>;
  close(): void;
} {
  const { hostname, port } = new URL(url);
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  return {
    send: ({ method, path, headers: own, body }) =>
      new Promise((resolve, reject) => {
        const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
        const headers = { ...own, ...length };
        const sent = request({ hostname, port, agent, method, path, headers }, (response) => {
          text(response).then(
            (answer) =>
              resolve({
                status: response.statusCode ?? 0,
                headers: response.headers,
                body: answer,
              }),
            reject,
          );
        });
        sent.on("error", reject);
        sent.end(body);
      }),
    close: () => agent.destroy(),
  };
}
