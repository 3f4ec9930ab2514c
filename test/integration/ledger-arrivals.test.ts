import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { obtainRedis } from "../../src/embedded/obtain-redis.ts";
import { startPrivateRedis, type PrivateRedis } from "../../src/embedded/redis-server.ts";
import type { RedisProgram } from "../../src/embedded/obtain-redis.ts";
import { Redis } from "ioredis";
import { openLedger, steppableScript, type LedgerParts } from "../support/ledger-parts.ts";
import { mostInAnyWindow } from "../support/quota-fleet/count-arrivals.ts";
import {
  startArrivalServer,
  startSender,
  type ArrivalServer,
  type Sender,
  type SenderOrders,
} from "../support/quota-fleet/fleet.ts";

const LIMIT = 200;
const WINDOW_MS = 3_000;
const SETTINGS = {
  windowMs: WINDOW_MS,
  useWithinMs: 200,
  transitMs: 100,
  projectPerMinute: LIMIT,
  userPerMinute: LIMIT,
  perDay: 1_000_000,
};

interface Fleet {
  readonly server: PrivateRedis;
  readonly admin: Redis;
  readonly parts: LedgerParts;
  readonly google: ArrivalServer;
  readonly senders: Sender[];
  readonly start: (over?: Partial<SenderOrders>) => Sender;
  /** Lose the server and go on with a replica that was cut off a second before. */
  readonly promote: () => Promise<void>;
}

interface FleetOptions {
  readonly persistent?: boolean;
  readonly isReplicated?: boolean;
  readonly senders?: Partial<SenderOrders>;
}

interface FleetRun {
  readonly most: number;
  readonly arrived: number;
  readonly longestStallMs: number;
  readonly events: LedgerParts["events"];
}

let program: RedisProgram;
beforeAll(async () => {
  program = await obtainRedis(
    { searchPath: process.env["PATH"] ?? "" },
    {
      say: (line) => {
        process.stderr.write(`${line}\n`);
      },
    },
  );
});

const sleep = (ms: number): Promise<void> => systemClock.sleep(ms, new AbortController().signal);

/** A run over the limit whose arrivals were noted late proves nothing: it is repeated, not judged. */
async function runFleet(
  options: FleetOptions,
  faults: (fleet: Fleet) => Promise<void>,
): Promise<FleetRun> {
  for (let attempt = 1; ; attempt += 1) {
    const run = await runFleetOnce(options, faults);
    if (run.most <= LIMIT || run.longestStallMs <= SETTINGS.transitMs || attempt === 3) return run;
  }
}

async function runFleetOnce(
  options: FleetOptions,
  faults: (fleet: Fleet) => Promise<void>,
): Promise<FleetRun> {
  const listen = options.isReplicated === true ? "port" : "socket";
  const server = await startPrivateRedis(
    { program, persistent: options.persistent ?? false, listen },
    { clock: systemClock },
  );
  // Clients follow a name, as they follow a proxy or a sentinel; promotion points it elsewhere.
  const directory = await mkdtemp(join(tmpdir(), "ballast-fleet-"));
  const path = join(directory, "redis.sock");
  await symlink(server.socketPath, path);
  const replica = options.isReplicated === true ? await startReplica(server, listen) : undefined;
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
  const parts = await openLedger({ path }, { settings: SETTINGS, script: steppableScript() });
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
      ...options.senders,
      ...over,
    });
    senders.push(sender);
    return sender;
  };
  for (let index = 0; index < 3; index += 1) start();
  try {
    await everyoneSends(google, senders.length);
    await faults({ server, admin, parts, google, senders, start, promote });
    const { arrivals, longestStallMs } = await google.arrivals();
    const times = arrivals.map(({ atMs }) => atMs);
    const most = mostInAnyWindow(times, WINDOW_MS);
    return { most, arrived: times.length, longestStallMs, events: parts.events };
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

async function startReplica(of: PrivateRedis, listen: "socket" | "port"): Promise<PrivateRedis> {
  const replica = await startPrivateRedis(
    { program, persistent: false, listen },
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

describe("I1: arrivals in any window stay within the limit", { timeout: 120_000 }, () => {
  test("while nothing goes wrong, and nearly all of it is used", async () => {
    const { most, arrived } = await runFleet({}, () => sleep(6_000));
    expect(most).toBeLessThanOrEqual(LIMIT);
    expect(most).toBeGreaterThan(LIMIT * 0.9);
    expect(arrived).toBeGreaterThanOrEqual(LIMIT * 2);
  });

  test("under SIGSTOP for 0.3 to 4 s and kill -9 of senders", async () => {
    const { most, arrived } = await runFleet({ senders: { sendDelayMs: 300 } }, async (fleet) => {
      for (const [index, stopMs] of [300, 1_000, 4_000].entries()) {
        const child = fleet.senders[index]?.child;
        child?.kill("SIGSTOP");
        await sleep(stopMs);
        child?.kill("SIGCONT");
      }
      fleet.senders[0]?.child.kill("SIGKILL");
      fleet.start();
      await sleep(4_500);
    });
    expect(most).toBeLessThanOrEqual(LIMIT);
    expect(arrived).toBeGreaterThan(LIMIT);
  });

  test("control: without use-by a stopped fleet overshoots by more than 5 %", async () => {
    const { most } = await runFleet(
      { senders: { sendDelayMs: 600, isUseByKept: false } },
      async (fleet) => {
        // The next burst comes when the first one leaves the window: stop everybody in the middle of it.
        await burst(fleet.google);
        for (const { child } of fleet.senders) child.kill("SIGSTOP");
        await sleep(2_500);
        for (const { child } of fleet.senders) child.kill("SIGCONT");
        await sleep(3_000);
      },
    );
    expect(most).toBeGreaterThan(LIMIT * 1.05);
  });

  test("under FLUSHALL: with everyone alive it opens again at once", async () => {
    const { most, arrived, events } = await runFleet({}, async (fleet) => {
      for (let round = 0; round < 3; round += 1) {
        await sleep(2_500);
        await fleet.admin.flushall();
      }
      await sleep(4_000);
    });
    expect(most).toBeLessThanOrEqual(LIMIT);
    expect(arrived).toBeGreaterThan(LIMIT);
    expect(openings(events)).toEqual(["first", "reseeded", "reseeded", "reseeded"]);
  });

  test("under a kill -9 100 ms before a FLUSHALL: it opens after W+J+D", async () => {
    const { most, arrived, events } = await runFleet({}, async (fleet) => {
      await sleep(2_500);
      fleet.senders[0]?.child.kill("SIGKILL");
      await sleep(100);
      await fleet.admin.flushall();
      await sleep(5_500);
    });
    expect(most).toBeLessThanOrEqual(LIMIT);
    expect(arrived).toBeGreaterThan(LIMIT);
    expect(openings(events)).toEqual(["first", "waited"]);
  });

  test.each([{ keepData: true }, { keepData: false }])(
    "under a kill -9 of Redis and a restart, keepData $keepData",
    async ({ keepData }) => {
      const { most, arrived, events } = await runFleet({ persistent: true }, async (fleet) => {
        await sleep(2_500);
        await fleet.server.kill("SIGKILL");
        await sleep(1_000);
        await fleet.server.restart({ keepData });
        await sleep(5_000);
      });
      expect(most).toBeLessThanOrEqual(LIMIT);
      expect(arrived).toBeGreaterThan(LIMIT);
      expect(openings(events)).toEqual(["first", "reseeded"]);
    },
  );

  test("under steps of Redis's clock by ±2 s and ±90 s", async () => {
    const { most, arrived, events } = await runFleet({}, async (fleet) => {
      await sleep(2_500);
      for (const offsetMs of [2_000, 0, 90_000, 0]) {
        await fleet.admin.set("test:clock-offset", offsetMs);
        await sleep(2_500);
      }
    });
    expect(most).toBeLessThanOrEqual(LIMIT);
    expect(arrived).toBeGreaterThan(LIMIT);
    expect(openings(events)).toHaveLength(5);
  });

  test("under a promoted replica that lacks the last second", async () => {
    const { most, arrived, events } = await runFleet({ isReplicated: true }, async (fleet) => {
      await sleep(2_000);
      await fleet.promote();
      await sleep(5_000);
    });
    expect(most).toBeLessThanOrEqual(LIMIT);
    expect(arrived).toBeGreaterThan(LIMIT);
    expect(openings(events)).toEqual(["first", "reseeded"]);
  });
});

async function burst(google: ArrivalServer): Promise<void> {
  const before = (await google.arrivals()).arrivals.length;
  for (let look = 0; look < 500; look += 1) {
    if ((await google.arrivals()).arrivals.length > before + LIMIT / 10) return;
    await sleep(20);
  }
  throw new Error("no burst came");
}

const openings = (events: LedgerParts["events"]): readonly string[] =>
  events.flatMap((event) => (event.kind === "opened" ? [event.rule] : []));

/** The faults begin when every sender has sent: a process that is still starting proves nothing. */
async function everyoneSends(google: ArrivalServer, senders: number): Promise<void> {
  for (let look = 0; look < 500; look += 1) {
    const { arrivals } = await google.arrivals();
    if (new Set(arrivals.map(({ from }) => from)).size >= senders) return;
    await sleep(20);
  }
  throw new Error("not every sender has sent");
}
