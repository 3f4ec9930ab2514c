import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { systemClock } from "../../../src/core/clock.ts";
import { obtainRedis, type RedisProgram } from "../../../src/embedded/obtain-redis.ts";
import { startPrivateRedis, type PrivateRedis } from "../../../src/embedded/redis-server.ts";
import { openLedger, steppableScript, type LedgerParts } from "../ledger-parts.ts";
import { mostInAnyWindow } from "./count-arrivals.ts";
import {
  startArrivalServer,
  startSender,
  type ArrivalServer,
  type Sender,
  type SenderOrders,
} from "./fleet.ts";

/** What a fleet is held to. */
export interface FleetLimits {
  readonly limit: number;
  readonly windowMs: number;
  readonly senders: number;
}

/** A running fleet, for a fault script to hurt. */
export interface Fleet {
  readonly server: PrivateRedis;
  readonly admin: Redis;
  readonly parts: LedgerParts;
  readonly google: ArrivalServer;
  readonly senders: Sender[];
  readonly start: (over?: Partial<SenderOrders>) => Sender;
  /** Lose the server and go on with a replica that was cut off a second before. */
  readonly promote: () => Promise<void>;
}

/** How the fleet is set up beside its limits. */
export interface FleetOptions {
  readonly persistent?: boolean;
  readonly isReplicated?: boolean;
  readonly orders?: Partial<SenderOrders>;
  /** D. */
  readonly transitMs?: number;
}

/** What was seen at the place that stands for Google. */
export interface FleetRun {
  readonly most: number;
  readonly arrived: number;
  /** Arrival times, in the arrival server's own time, ascending. */
  readonly times: readonly number[];
  /** The same in epoch milliseconds. */
  readonly epochTimes: readonly number[];
  readonly longestStallMs: number;
  readonly events: LedgerParts["events"];
}

/** J. */
export const USE_WITHIN_MS = 200;
const TRANSIT_MS = 100;

const sleep = (ms: number): Promise<void> => systemClock.sleep(ms, new AbortController().signal);

/** The Redis program that fleets run on. */
export function obtainFleetRedis(): Promise<RedisProgram> {
  return obtainRedis(
    { searchPath: process.env["PATH"] ?? "" },
    {
      say: (line) => {
        process.stderr.write(`${line}\n`);
      },
    },
  );
}

/** A run over the limit whose arrivals were noted late proves nothing: it is repeated, not judged. */
export async function runFleet(
  setup: FleetLimits & FleetOptions & { readonly program: RedisProgram },
  faults: (fleet: Fleet) => Promise<void>,
): Promise<FleetRun> {
  for (let attempt = 1; ; attempt += 1) {
    const run = await runFleetOnce(setup, faults);
    if (run.most <= setup.limit || run.longestStallMs <= TRANSIT_MS || attempt === 3) return run;
  }
}

/** Once, whatever stalled: for whoever judges that by itself. */
export async function runFleetOnce(
  options: FleetLimits & FleetOptions & { readonly program: RedisProgram },
  faults: (fleet: Fleet) => Promise<void>,
): Promise<FleetRun> {
  const { program, limit, windowMs } = options;
  const settings = {
    windowMs,
    useWithinMs: USE_WITHIN_MS,
    transitMs: options.transitMs ?? TRANSIT_MS,
    projectPerMinute: limit,
    userPerMinute: limit,
    perDay: 1_000_000,
  };
  const listen = options.isReplicated === true ? "port" : "socket";
  const server = await startPrivateRedis(
    { program, persistent: options.persistent ?? false, listen },
    { clock: systemClock },
  );
  // Clients follow a name, as they follow a proxy or a sentinel; promotion points it elsewhere.
  const directory = await mkdtemp(join(tmpdir(), "ballast-fleet-"));
  const path = join(directory, "redis.sock");
  await symlink(server.socketPath, path);
  const replica = options.isReplicated === true ? await startReplica(program, server) : undefined;
  const promote = async (): Promise<void> => {
    if (replica === undefined) throw new Error("no replica");
    const client = new Redis({ path: replica.socketPath });
    await client.call("REPLICAOF", "NO", "ONE");
    await sleep(1_000);
    client.disconnect();
    await rm(path);
    await symlink(replica.socketPath, path);
    await server.kill("SIGKILL");
  };
  const admin = new Redis({ path, maxRetriesPerRequest: null });
  admin.on("error", () => undefined);
  const parts = await openLedger(
    { path },
    { settings, script: steppableScript(), openWithinMs: 20_000 },
  );
  const google = await startArrivalServer();
  const senders: Sender[] = [];
  const start = (over: Partial<SenderOrders> = {}): Sender => {
    const sender = startSender({
      connection: { path },
      port: google.port,
      tenants: [`tenant-${senders.length}`],
      class: "interactive",
      concurrency: 20,
      sendDelayMs: 0,
      isUseByKept: true,
      ...options.orders,
      ...over,
    });
    senders.push(sender);
    return sender;
  };
  for (let index = 0; index < options.senders; index += 1) start();
  try {
    await everyoneSends(google, senders.length);
    google.forgetStall();
    await faults({ server, admin, parts, google, senders, start, promote });
    const { arrivals, longestStallMs, timeOriginMs } = await google.arrivals();
    const times = arrivals.map(({ atMs }) => atMs).toSorted((a, b) => a - b);
    const most = mostInAnyWindow(times, windowMs);
    const epochTimes = times.map((time) => timeOriginMs + time);
    return { most, arrived: times.length, times, epochTimes, longestStallMs, events: parts.events };
  } finally {
    await Promise.all(senders.map((sender) => sender.stop()));
    await parts.close();
    admin.disconnect();
    google.stop();
    await replica?.stop();
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function startReplica(program: RedisProgram, of: PrivateRedis): Promise<PrivateRedis> {
  const replica = await startPrivateRedis(
    { program, persistent: false, listen: "port" },
    { clock: systemClock },
  );
  if (!("port" in of.connection)) throw new Error("a replica needs a port to follow");
  const client = new Redis({ path: replica.socketPath });
  await client.call("REPLICAOF", of.connection.host, String(of.connection.port));
  for (let look = 0; look < 100; look += 1) {
    if ((await client.info("replication")).includes("master_link_status:up")) break;
    await sleep(50);
  }
  client.disconnect();
  return replica;
}

/** Wait until a burst has begun. */
export async function burstBegins(google: ArrivalServer, arrivals: number): Promise<void> {
  const before = (await google.arrivals()).arrivals.length;
  for (let look = 0; look < 500; look += 1) {
    if ((await google.arrivals()).arrivals.length > before + arrivals) return;
    await sleep(20);
  }
  throw new Error("no burst came");
}

/** Wait until the ledger has opened as often as that. */
export async function opensAgain({ parts }: Fleet, times: number): Promise<void> {
  for (let look = 0; look < 600; look += 1) {
    if (openings(parts.events).length >= times) return;
    await sleep(50);
  }
  throw new Error(`the ledger did not open: ${openings(parts.events).join(", ")}`);
}

/** By which rules the ledger opened, in order. */
export const openings = (events: LedgerParts["events"]): readonly string[] =>
  events.flatMap((event) => (event.kind === "opened" ? [event.rule] : []));

/** The faults begin when every sender has sent: a process that is still starting proves nothing. */
async function everyoneSends(google: ArrivalServer, senders: number): Promise<void> {
  for (let look = 0; look < 1_500; look += 1) {
    const { arrivals } = await google.arrivals();
    if (new Set(arrivals.map(({ from }) => from)).size >= senders) return;
    await sleep(20);
  }
  throw new Error("not every sender has sent");
}
