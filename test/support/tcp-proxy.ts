/**
 * A TCP proxy that behaves as badly as a network may.
 *
 * States of the proxy: forwarding ⇄ paused (bytes wait, nothing is lost) and forwarding ⇄ refusing
 * (connections are closed as soon as they are made) → closed. States of a connection: open →
 * half-open (its bytes go nowhere and nobody is told, for ever) → gone. Delays apply to bytes that
 * arrive from then on; their order is kept.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** Where the proxy leads: a loopback port or the path of a socket. */
export type ProxyTarget =
  { readonly host: string; readonly port: number } | { readonly path: string };

/** How long bytes are on their way; a round trip takes both. */
export interface Latency {
  readonly toServerMs: number;
  readonly toClientMs: number;
}

export interface TcpProxy {
  readonly port: number;
  delay(latency: Latency): void;
  /** Hold all bytes until `resume`; nothing is lost. */
  pause(): void;
  resume(): void;
  /** Close all connections now; new ones are made as before. */
  cut(): void;
  /** What is connected now stays connected and never hears anything again; new connections work. */
  halfOpen(): void;
  /** Close new connections as soon as they are made, until `accept`. */
  refuse(): void;
  accept(): void;
  connections(): number;
  /** Resolves when nothing of the proxy is left. */
  close(): Promise<void>;
}

interface Proxy {
  readonly target: ProxyTarget;
  readonly pairs: Set<Pair>;
  latency: Latency;
  isPaused: boolean;
  isRefusing: boolean;
}

interface Pair {
  flush(): void;
  deafen(): void;
  destroy(): void;
}

/** Listen on a free loopback port and lead to `target`. Whoever starts it closes it. */
export async function startTcpProxy(target: ProxyTarget): Promise<TcpProxy> {
  const proxy: Proxy = {
    target,
    pairs: new Set(),
    latency: { toServerMs: 0, toClientMs: 0 },
    isPaused: false,
    isRefusing: false,
  };
  const server = createServer((client) => {
    if (proxy.isRefusing) client.on("error", ignore).destroy();
    else openPair(proxy, client);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const cut = (): void => {
    for (const pair of proxy.pairs) pair.destroy();
  };
  return {
    port: portOf(server.address()),
    delay(latency) {
      proxy.latency = latency;
    },
    pause() {
      proxy.isPaused = true;
    },
    resume() {
      proxy.isPaused = false;
      for (const pair of proxy.pairs) pair.flush();
    },
    cut,
    halfOpen() {
      for (const pair of proxy.pairs) pair.deafen();
    },
    refuse() {
      proxy.isRefusing = true;
    },
    accept() {
      proxy.isRefusing = false;
    },
    connections: () => proxy.pairs.size,
    close: () => closeServer(server, cut),
  };
}

function closeServer(server: Server, cut: () => void): Promise<void> {
  return new Promise((resolve) => {
    // The only error is that it was closed before.
    server.close(() => resolve());
    cut();
  });
}

function openPair(proxy: Proxy, client: Socket): void {
  const server = connect({ ...proxy.target, allowHalfOpen: true });
  const lines = [
    openLine(proxy, { from: client, to: server, latencyMs: () => proxy.latency.toServerMs }),
    openLine(proxy, { from: server, to: client, latencyMs: () => proxy.latency.toClientMs }),
  ];
  const pair: Pair = {
    flush() {
      for (const line of lines) line.flush();
    },
    deafen() {
      for (const line of lines) line.deafen();
    },
    destroy() {
      proxy.pairs.delete(pair);
      for (const line of lines) line.close();
      client.destroy();
      server.destroy();
    },
  };
  proxy.pairs.add(pair);
  for (const socket of [client, server]) {
    socket.setNoDelay(true);
    socket.on("error", () => pair.destroy());
    socket.on("close", () => {
      // What the other end has not been told yet it is still told, at its time.
      if (lines.every((line) => line.isIdle())) pair.destroy();
    });
  }
  for (const line of lines) line.onEnded(() => pair.destroy());
}

interface Line {
  flush(): void;
  deafen(): void;
  close(): void;
  isIdle(): boolean;
  /** Told when the end of one direction was delivered: either end has hung up. */
  onEnded(listener: () => void): void;
}

interface Parcel {
  readonly dueMs: number;
  /** Undefined: the end. */
  readonly bytes: Buffer | undefined;
}

/** One direction of one connection: parcels in order, each delivered no sooner than its time. */
function openLine(
  proxy: Proxy,
  ends: { readonly from: Socket; readonly to: Socket; readonly latencyMs: () => number },
): Line {
  const waiting: Parcel[] = [];
  let timer: NodeJS.Timeout | undefined;
  let isDeaf = false;
  let ended: () => void = ignore;

  const deliver = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (proxy.isPaused) return;
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      const waitMs = next.dueMs - performance.now();
      if (waitMs > 0) {
        timer = setTimeout(deliver, waitMs);
        return;
      }
      waiting.shift();
      if (next.bytes === undefined) ended();
      else if (!ends.to.destroyed) ends.to.write(next.bytes);
    }
  };
  const take = (bytes: Buffer | undefined): void => {
    if (isDeaf) return;
    waiting.push({ dueMs: performance.now() + ends.latencyMs(), bytes });
    if (timer === undefined) deliver();
  };
  ends.from.on("data", take);
  ends.from.on("end", () => {
    take(undefined);
  });
  return {
    flush: deliver,
    deafen() {
      isDeaf = true;
      waiting.length = 0;
    },
    close() {
      isDeaf = true;
      waiting.length = 0;
      clearTimeout(timer);
    },
    isIdle: () => waiting.length === 0,
    onEnded(listener) {
      ended = listener;
    },
  };
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === "string") throw new Error("Not listening on a port");
  return address.port;
}

function ignore(): void {
  // Whoever is on the other side finds out by itself.
}
