/**
 * How the permit broker and the ledger bear up: the cost of a grant by waiting tenants, what of the limit is used,
 * how fairly, and with how many evaluations. Numbers 5, 6, 7, 8, 9 and 17 of the budget's table, on a private Redis.
 *
 *   node bench/quota-broker.ts [--short] [--only cost|waits|fleet] [--json FILE]
 */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { Redis } from "ioredis";
import { systemClock } from "../src/core/clock.ts";
import type { RequestClass } from "../src/core/request.ts";
import { obtainRedis } from "../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../src/embedded/redis-server.ts";
import { createPermitBroker } from "../src/quota/permit-broker.ts";
import { lane, openLedger, permitAsk } from "../test/support/ledger-parts.ts";
import { mostInAnyWindow } from "../test/support/quota-fleet/count-arrivals.ts";
import { startArrivalServer, startSender } from "../test/support/quota-fleet/fleet.ts";

const { values: flags } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    only: { type: "string" },
    json: { type: "string" },
  },
});

const program = await obtainRedis(
  { searchPath: process.env["PATH"] ?? "" },
  {
    say: (line) => {
      process.stderr.write(`${line}\n`);
    },
  },
);
const results: Record<string, number | string>[] = [];

const isWanted = (part: string): boolean => flags.only === undefined || flags.only === part;
if (isWanted("cost")) await costByWaitingTenants();
if (isWanted("waits")) await waits();
if (isWanted("fleet")) {
  await fleet("interactive", 0);
  await fleet("backfill", 0.2);
}

console.table(results);
if (flags.json !== undefined) await writeFile(flags.json, JSON.stringify(results, undefined, 2));

/** Every tenant has a call waiting at all times; the limit frees about 170 places a second, as in production. */
async function costByWaitingTenants(): Promise<void> {
  for (const tenants of [10, 1_000, 5_000]) {
    const redis = await startPrivateRedis({ program, persistent: false }, { clock: systemClock });
    const parts = await openLedger(
      { path: redis.socketPath },
      {
        settings: {
          windowMs: 10_000,
          projectPerMinute: 1_700,
          userPerMinute: 1_700,
          perDay: 100_000_000,
        },
      },
    );
    let asks = 0;
    const ledger = {
      ...parts.ledger,
      ask: (request: Parameters<typeof parts.ledger.ask>[0]) => {
        asks += 1;
        return parts.ledger.ask(request);
      },
    };
    const broker = createPermitBroker({}, { ledgerOf: () => ledger, clock: systemClock });
    const stop = new AbortController();
    let grants = 0;
    const perTenant = new Map<number, number>();
    const keepAsking = async (tenant: number): Promise<void> => {
      const of = lane({ tenant: `tenant-${tenant}`, user: `user-${tenant}`, class: "push" });
      while (!stop.signal.aborted) {
        try {
          await broker.acquire(permitAsk(of, { maxWaitMs: 600_000, signal: stop.signal }));
          grants += 1;
          perTenant.set(tenant, (perTenant.get(tenant) ?? 0) + 1);
        } catch {
          return;
        }
      }
    };
    const workers = Array.from({ length: tenants }, (_, tenant) => keepAsking(tenant));
    await systemClock.sleep(flags.short ? 1_000 : 3_000, stop.signal);
    const cpu = process.cpuUsage();
    const redisCpu = await usedCpuMs(redis.socketPath);
    const from = { grants, asks };
    await systemClock.sleep(flags.short ? 4_000 : 15_000, stop.signal);
    const used = process.cpuUsage(cpu);
    const redisMs = (await usedCpuMs(redis.socketPath)) - redisCpu;
    const granted = grants - from.grants;
    results.push({
      what: `${tenants} waiting tenants`,
      grants: granted,
      "process µs/grant": Math.round((used.user + used.system) / granted),
      "Redis µs/grant": Math.round((redisMs * 1_000) / granted),
      "asks/grant": Number(((asks - from.asks) / granted).toFixed(2)),
    });
    stop.abort(new Error("done"));
    await Promise.all(workers);
    await broker.close();
    await parts.close();
    await redis.stop();
  }
}

/** Redis' own processor time, in milliseconds. */
async function usedCpuMs(path: string): Promise<number> {
  const redis = new Redis({ path });
  const info = await redis.info("cpu");
  redis.disconnect();
  const read = (name: string): number =>
    Number(new RegExp(`${name}:([\\d.]+)`).exec(info)?.[1] ?? 0);
  return (read("used_cpu_sys") + read("used_cpu_user")) * 1_000;
}

/**
 * Numbers 6, 8 and 17, the ledger's part of them: how long an ask waits in an idle fleet, how long a quiet tenant waits
 * beside one that asks all the time, and how long a person waits beside a saturated background.
 */
async function waits(): Promise<void> {
  const redis = await startPrivateRedis({ program, persistent: false }, { clock: systemClock });
  const parts = await openLedger(
    { path: redis.socketPath },
    {
      settings: {
        windowMs: 10_000,
        projectPerMinute: 1_700,
        userPerMinute: 1_700,
        perDay: 100_000_000,
        classReserve: { push: 0.05, poll: 0.1, backfill: 0.2 },
        settleMs: 500,
      },
    },
  );
  const brokers = Array.from({ length: 4 }, (_, index) => {
    const ledger = index === 0 ? parts.ledger : parts.join();
    return createPermitBroker({}, { ledgerOf: () => ledger, clock: systemClock });
  });
  const [first] = brokers;
  if (first === undefined) throw new Error("no broker");
  const measure = async (
    tenant: string,
    requestClass: RequestClass,
  ): Promise<readonly number[]> => {
    const of = lane({ tenant, user: tenant, class: requestClass });
    const taken: number[] = [];
    for (let call = 0; call < (flags.short ? 60 : 300); call += 1) {
      const askedAtMs = systemClock.monotonicMs();
      await first.acquire(permitAsk(of, { maxWaitMs: 60_000 }));
      taken.push(systemClock.monotonicMs() - askedAtMs);
      await systemClock.sleep(50, new AbortController().signal);
    }
    return taken.toSorted((a, b) => a - b);
  };
  note("ask in an idle fleet", await measure("person", "interactive"));
  const stop = new AbortController();
  const saturated = brokers.flatMap((broker) =>
    Array.from({ length: 50 }, async () => {
      const of = lane({ tenant: "heavy", user: "heavy", class: "push" });
      while (!stop.signal.aborted) {
        await broker
          .acquire(permitAsk(of, { maxWaitMs: 60_000, signal: stop.signal }))
          .catch(() => undefined);
      }
    }),
  );
  await systemClock.sleep(flags.short ? 11_000 : 21_000, new AbortController().signal);
  note("quiet tenant beside a saturating one", await measure("quiet", "push"));
  note("person beside a saturated background", await measure("person", "interactive"));
  stop.abort(new Error("done"));
  await Promise.all(saturated);
  await Promise.all(brokers.map((broker) => broker.close()));
  await parts.close();
  await redis.stop();
}

function note(what: string, taken: readonly number[]): void {
  const at = (part: number): string => (taken[Math.floor(taken.length * part)] ?? 0).toFixed(1);
  results.push({ what, "p50 ms": at(0.5), "p99 ms": at(0.99) });
}

/** Eight processes without a database, everyone saturated. */
async function fleet(requestClass: RequestClass, reserve: number): Promise<void> {
  const limit = 1_700;
  const windowMs = 10_000;
  const redis = await startPrivateRedis({ program, persistent: false }, { clock: systemClock });
  const parts = await openLedger(
    { path: redis.socketPath },
    {
      settings: {
        windowMs,
        projectPerMinute: limit,
        userPerMinute: limit,
        perDay: 100_000_000,
        classReserve: { backfill: reserve },
        // As long as one hundredth of a minute: a tenth of a second would be lost to this machine's stalls.
        pacingBurst: 0.05,
        settleMs: 2_000,
      },
    },
  );
  const google = await startArrivalServer();
  const senders = Array.from({ length: 8 }, (_, index) =>
    startSender({
      connection: { path: redis.socketPath },
      port: google.port,
      tenants: [`tenant-${index}`],
      class: requestClass,
      concurrency: 40,
      sendDelayMs: 0,
      isUseByKept: true,
    }),
  );
  const signal = new AbortController().signal;
  await systemClock.sleep(windowMs * 2, signal);
  const before = (await google.arrivals()).arrivals.length;
  const seconds = flags.short ? 20 : 50;
  await systemClock.sleep(seconds * 1_000, signal);
  const { arrivals, longestStallMs } = await google.arrivals();
  const figures = await Promise.all(senders.map((sender) => sender.stop()));
  const times = arrivals.map(({ atMs }) => atMs);
  const counted = arrivals.slice(before);
  const shares = Map.groupBy(counted, ({ from }) => from);
  const counts = [...shares.values()].map((list) => list.length);
  const sum = counts.reduce((a, b) => a + b, 0);
  const jain = sum ** 2 / (8 * counts.reduce((a, b) => a + b * b, 0));
  const sent = figures.reduce((total, one) => total + (one?.sent ?? 0), 0);
  const evaluations = figures.reduce((total, one) => total + (one?.evaluations ?? 0), 0);
  results.push({
    what: `8 processes, ${requestClass}`,
    "most in a window / limit": `${mostInAnyWindow(times, windowMs)} / ${limit}`,
    "used of limit − reserve": `${((counted.length / ((seconds * 1_000) / windowMs) / (limit * (1 - reserve))) * 100).toFixed(1)} %`,
    Jain: jain.toFixed(4),
    "asks/request": (evaluations / sent).toFixed(2),
    late: figures.reduce((total, one) => total + (one?.late ?? 0), 0),
    "longest stall ms": Math.round(longestStallMs),
  });
  google.stop();
  await parts.close();
  await redis.stop();
}
