/**
 * A Redis of our own: never an unknown server that happens to listen somewhere.
 *
 * States: running ⇄ down (killed or ended by its owner; `restart` brings it back on the same address)
 * → stopped, for good. One that ends unasked is started again where the owner wants to be told of it. Each start proves by process id that the server which answers is the one started.
 *
 * With a data directory, its owner holds that directory's instance lock (instance-lock.ts): so a server
 * that an earlier owner left behind there belongs to nobody, and is stopped before the new one starts.
 */
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { makeDirectory } from "./make-directory.ts";
import { startChildServer, type ChildServer } from "./child-server.ts";
import { redisEnvironment, type RedisProgram } from "./obtain-redis.ts";
import { identifyProcess, isStillRunning } from "./process-identity.ts";
import { probeRedis } from "./redis-probe.ts";
import { readServerRecord, removeServerRecord, writeServerRecord } from "./server-record.ts";

const STOP_GRACE_MS = 10_000;
const POLL_MS = 20;
const REVIVE_PAUSE_MS = 1_000;
/** Redis cuts no corner on a big append-only file: while it says it is loading, we wait on. */
const ANSWER_WITHIN_MS = 30_000;
/** `sun_path` holds 108 bytes on Linux, 104 on macOS. */
const SOCKET_PATH_MAX = 100;

/** Where a private Redis keeps its data and how it is reached. */
export interface PrivateRedisOptions {
  readonly program: RedisProgram;
  /** Kept when the server stops. Without one, data lives and dies in a temporary directory. */
  readonly dataDirectory?: string;
  /** Write an append-only file, so that a restart finds what was there. */
  readonly persistent: boolean;
  /** `socket`: only this user can reach it. `port`: a free loopback port, for clients that know no sockets. */
  readonly listen?: "socket" | "port";
  readonly databases?: number;
  /** More of redis-server's own arguments, such as `--replicaof HOST PORT`. */
  readonly extraArguments?: readonly string[];
  /** Start it again when it ends without being asked to: told each time, and when that did not work. */
  readonly onUnexpectedEnd?: (event: RedisRevival) => void;
  readonly signal?: AbortSignal;
}

/** What became of a server that ended without being asked to. */
export type RedisRevival =
  | { readonly kind: "restarted"; readonly pid: number; readonly ending: string }
  | { readonly kind: "still-down"; readonly ending: string; readonly error: unknown };

/** A running private Redis; whoever starts it stops it. */
export interface PrivateRedis {
  /** What ioredis takes: the socket's path, or `redis://127.0.0.1:PORT`. */
  readonly url: string;
  readonly connection: { readonly path: string } | { readonly host: string; readonly port: number };
  readonly socketPath: string;
  readonly version: string;
  /** The current process; another one after a restart. */
  pid(): number;
  /** Signal the server; a fatal signal is waited for. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** End it if it runs, and start it again on the same address. `keepData: false` removes its file first. */
  restart(options: { readonly keepData: boolean }): Promise<void>;
  stop(): Promise<void>;
}

/** Start a Redis that is ours alone, and prove it before anyone uses it. */
export async function startPrivateRedis(
  options: PrivateRedisOptions,
  deps: { readonly clock: Clock },
): Promise<PrivateRedis> {
  const place = await preparePlace(options);
  const sweep = (): void => {
    rmSync(place.directory, { recursive: true, force: true });
  };
  const keeper = createKeeper({ options, place }, deps);
  try {
    await stopOrphan({ place, signal: keeper.signal }, deps);
    await keeper.start();
  } catch (error) {
    sweep();
    throw error;
  }
  process.once("exit", sweep);

  return {
    ...describeAddress(place),
    socketPath: place.socketPath,
    version: options.program.version,
    pid: () => keeper.pid(),
    kill: (signal) => keeper.kill(signal),
    restart: async ({ keepData }) => {
      await keeper.end();
      if (!keepData) {
        await rm(join(place.data, "appendonlydir"), { recursive: true, force: true });
      }
      await keeper.start();
    },
    stop: async () => {
      process.off("exit", sweep);
      await keeper.end();
      await removeServerRecord(place.recordFile);
      await rm(place.directory, { recursive: true, force: true });
    },
  };
}

/** Holds the current process of the server, and replaces it when it ends unasked. */
interface Keeper {
  readonly signal: AbortSignal;
  pid(): number;
  start(): Promise<void>;
  end(): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
}

function createKeeper(
  { options, place }: { readonly options: PrivateRedisOptions; readonly place: Place },
  { clock }: { readonly clock: Clock },
): Keeper {
  const signal = options.signal ?? new AbortController().signal;
  let server: ChildServer | undefined;
  // Fresh for each start: aborted as soon as an end is wanted, so that nobody revives what is to be down.
  let wanted = new AbortController();
  let reviving: Promise<void> = Promise.resolve();

  const launch = async (): Promise<void> => {
    const within = AbortSignal.any([signal, wanted.signal]);
    const launched = await launchAndProve({ options, place, signal: within }, { clock });
    server = launched;
    launched.onEnd(() => {
      if (options.onUnexpectedEnd === undefined || within.aborted) return;
      reviving = revive(options.onUnexpectedEnd, launched.ending() ?? "unknown");
    });
  };
  const revive = async (tell: (event: RedisRevival) => void, ending: string): Promise<void> => {
    const { signal: until } = wanted;
    while (!isAborted(until)) {
      try {
        await launch();
        tell({ kind: "restarted", pid: currentPid(), ending });
        return;
      } catch (error) {
        if (isAborted(until)) return;
        tell({ kind: "still-down", ending, error });
        // Woken by being stopped: the loop looks for that itself.
        await clock.sleep(REVIVE_PAUSE_MS, until).catch(() => {});
      }
    }
  };
  const currentPid = (): number => server?.pid ?? 0;

  return {
    signal,
    pid: currentPid,
    start: () => {
      wanted = new AbortController();
      return launch();
    },
    end: async () => {
      wanted.abort();
      await reviving;
      await server?.stop({ signal: "SIGTERM", graceMs: STOP_GRACE_MS });
    },
    kill: async (sent) => {
      const isFatal = ["SIGKILL", "SIGTERM", "SIGINT"].includes(sent);
      if (isFatal) wanted.abort();
      server?.signal(sent);
      if (isFatal) await server?.ended(signal);
    },
  };
}

/** A function, because a check of the property would be taken to hold across an await. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

interface Place {
  readonly directory: string;
  readonly data: string;
  readonly socketPath: string;
  readonly recordFile: string;
  readonly port: number | undefined;
}

async function preparePlace(options: PrivateRedisOptions): Promise<Place> {
  let directory = await mkdtemp(join(tmpdir(), "ballast-redis-"));
  if (join(directory, "redis.sock").length > SOCKET_PATH_MAX) {
    await rm(directory, { recursive: true });
    directory = await mkdtemp("/tmp/ballast-redis-");
  }
  const data = options.dataDirectory ?? join(directory, "data");
  await makeDirectory(data);
  return {
    directory,
    data,
    socketPath: join(directory, "redis.sock"),
    recordFile: join(data, "redis-server.json"),
    port: options.listen === "port" ? await findFreePort() : undefined,
  };
}

function describeAddress(place: Place): Pick<PrivateRedis, "url" | "connection"> {
  const { port, socketPath } = place;
  return port === undefined
    ? { url: socketPath, connection: { path: socketPath } }
    : { url: `redis://127.0.0.1:${String(port)}`, connection: { host: "127.0.0.1", port } };
}

async function stopOrphan(
  { place, signal: abort }: { readonly place: Place; readonly signal: AbortSignal },
  { clock }: { readonly clock: Clock },
): Promise<void> {
  const record = await readServerRecord(place.recordFile);
  if (record === undefined) return;
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    if (!(await isStillRunning(record))) break;
    process.kill(record.pid, signal);
    const waitUntil = clock.monotonicMs() + STOP_GRACE_MS;
    while ((await isStillRunning(record)) && clock.monotonicMs() < waitUntil) {
      await clock.sleep(POLL_MS, abort);
    }
  }
  if (await isStillRunning(record)) {
    throw new Error(
      `A Redis left behind on ${place.data} (process ${String(record.pid)}) does not end; stop it and try again`,
    );
  }
  await rm(record.directory, { recursive: true, force: true });
  await removeServerRecord(place.recordFile);
}

interface Launch {
  readonly options: PrivateRedisOptions;
  readonly place: Place;
  readonly signal: AbortSignal;
}

async function launchAndProve(
  { options, place, signal }: Launch,
  deps: { readonly clock: Clock },
): Promise<ChildServer> {
  const server = await startChildServer(
    {
      command: options.program.path,
      args: buildArguments(options, place),
      env: redisEnvironment(options.program.libraryPath),
      logFile: join(place.directory, "redis.log"),
      farewell: "SIGTERM",
    },
    deps,
  );
  try {
    const identity = await identifyProcess(server.pid);
    if (identity !== undefined) {
      await writeServerRecord(place.recordFile, { ...identity, directory: place.directory });
    }
    await proveReady({ server, place, signal }, deps);
    return server;
  } catch (error) {
    await server.stop({ signal: "SIGKILL", graceMs: 0 });
    throw error;
  }
}

function buildArguments(options: PrivateRedisOptions, place: Place): string[] {
  const settings = {
    port: String(place.port ?? 0),
    bind: "127.0.0.1",
    unixsocket: place.socketPath,
    unixsocketperm: "700",
    dir: place.data,
    databases: String(options.databases ?? 16),
    // Keys are promises here: evicting one silently would lose a job or a window of the budget.
    "maxmemory-policy": "noeviction",
    save: "",
    appendonly: options.persistent ? "yes" : "no",
    appendfsync: "everysec",
  };
  return [
    ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    ...(options.extraArguments ?? []),
  ];
}

async function proveReady(
  run: { readonly server: ChildServer; readonly place: Place; readonly signal: AbortSignal },
  deps: { readonly clock: Clock },
): Promise<void> {
  const { server, place, signal } = run;
  const giveUpAt = deps.clock.monotonicMs() + ANSWER_WITHIN_MS;
  for (;;) {
    const ending = server.ending();
    if (ending !== undefined) {
      throw new Error(
        `Redis ended while starting (${ending}). It said:\n${await server.lastWords()}`,
      );
    }
    const report = await probeRedis(place.socketPath);
    if (report !== undefined && report.pid !== server.pid) {
      throw new Error(
        `Another Redis (process ${String(report.pid)}) answers on ${place.socketPath}: refusing to use it`,
      );
    }
    if (report?.isLoading === false) return;
    if (report === undefined && deps.clock.monotonicMs() > giveUpAt) {
      throw new Error(
        `Redis did not answer within ${String(ANSWER_WITHIN_MS)} ms. It said:\n${await server.lastWords()}`,
      );
    }
    await deps.clock.sleep(POLL_MS, signal);
  }
}

function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => {
        if (address !== null && typeof address === "object") resolve(address.port);
        else reject(new Error("No free loopback port"));
      });
    });
  });
}
