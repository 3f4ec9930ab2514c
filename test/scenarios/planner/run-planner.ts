import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import { obtainRedis } from "../../../src/embedded/obtain-redis.ts";
import type { Database } from "../../../src/store/database.ts";
import { createMigrations } from "../../../src/store/migrations.ts";
import { openPostgresDatabase } from "../../../src/store/postgres-database.ts";
import { openSqliteDatabase } from "../../../src/store/sqlite-database.ts";
import { runOnPostgres, startPostgresCluster } from "../../support/postgres-cluster.ts";
import { createBounds, type Scenario, type ScenarioOptions } from "../scenario.ts";
import {
  claim,
  CLAIMED_AT_ONCE,
  durations,
  openClaims,
  servedByAge,
  servedInFull,
} from "./measure-claims.ts";
import { generateCalendars, type PlannerShape } from "./planner-database.ts";
import { openQueueMemory, type QueueMemory } from "./redis-bytes.ts";

const TENANTS = 100;
const OTHERS = TENANTS - 1;
const DUE_OF_OTHERS = 4;
const SMALL = shapeOf(1_000, 500);
const BIG = { full: shapeOf(1_000_000, 900_000), short: shapeOf(20_000, 18_000) };
/** Nobody has anything due: one idle calendar for each of so many tenants. */
const IDLE = { full: 100_000, short: 2_000 };
const TICKS = { full: 15, short: 2 };
/** The first claims of a database fill its caches. */
const WARM_UP = { full: 2, short: 0 };
const DAY_MS = 86_400_000;

function shapeOf(calendars: number, overdueOfOne: number): PlannerShape {
  return { calendars, tenants: TENANTS, overdueOfOne, overdueOfOthers: DUE_OF_OTHERS };
}

interface DatabaseFigures {
  readonly database: string;
  readonly calendars: number;
  readonly claimed: number;
  /** The middle one of the ticks, as the next one. */
  readonly tickMsSmall: number;
  readonly tickMsBig: number;
  readonly worstMsBig: number;
  readonly followingMsBig: number;
  readonly idleTenantsMs: number;
  readonly redisBytes: number;
  readonly redisBytesQueued: number;
  /** In the claim of which the fewest were: tenants but the big one that were given all they had due. */
  readonly served: number;
  readonly servedByAge: number;
}

type Open = (name: string) => Promise<Database>;

/**
 * One claim out of a million calendars, of which one tenant has nine tenths overdue, beside the same claim out of a
 * thousand. On SQLite and on Postgres; the last line has the figures of the database that was slower.
 */
export const runPlanner: Scenario = async (options) => {
  const directory = await mkdtemp(join(tmpdir(), "ballast-planner-"));
  const program = await obtainRedis({ searchPath: process.env["PATH"] ?? "" }, options);
  const postgres = await startPostgresCluster();
  const openers: Record<string, Open> = {
    sqlite: (name) => Promise.resolve(openSqliteDatabase(join(directory, `${name}.db`))),
    postgres: async (name) => {
      await runOnPostgres(postgres.url("postgres"), `create database ${name}`);
      return openPostgresDatabase(postgres.url(name));
    },
  };
  const runs: DatabaseFigures[] = [];
  try {
    for (const [database, open] of Object.entries(openers)) {
      const memory = await openQueueMemory(program, (error) => options.say(error.message));
      try {
        const run = { database, ...(await planOn(open, { ...options, memory })) };
        runs.push(run);
        options.say(JSON.stringify(run));
      } finally {
        await memory.close();
      }
    }
  } finally {
    await postgres.stop();
    await rm(directory, { recursive: true, force: true });
  }
  const [slower] = runs.toSorted((a, b) => b.tickMsBig - a.tickMsBig);
  if (slower === undefined) throw new Error("No database was measured");
  return { figures: { ...slower }, missed: runs.flatMap((run) => judge(run, options)) };
};

async function planOn(
  open: Open,
  { short, seed, say, memory }: ScenarioOptions & { readonly memory: QueueMemory },
): Promise<Omit<DatabaseFigures, "database">> {
  const size = short ? "short" : "full";
  const now = systemClock.now();
  const shape = BIG[size];
  const small = await openFilled(open, "small", { shape: SMALL, now });
  await memory.enqueue([]);
  const bytesBefore = await memory.bytes();
  const startedMs = performance.now();
  const big = await openFilled(open, "big", { shape, now });
  say(`generated in ${String(Math.round(performance.now() - startedMs))} ms`);
  try {
    // A day ago all of them were idle.
    await memory.enqueue((await claim(big, now - DAY_MS)).claimed);
    const redisBytes = (await memory.bytes()) - bytesBefore;
    const byAge = await servedByAge(big, now, DUE_OF_OTHERS);
    const [ofSmall, ofBig] = [openClaims(small, now), openClaims(big, now)];
    for (let tick = 0; tick < WARM_UP[size] + TICKS[size]; tick += 1) {
      // In turn, so that what else the machine does slows both.
      const order = (tick + seed) % 2 === 0 ? [ofSmall, ofBig] : [ofBig, ofSmall];
      for (const claims of order) await claims.tick();
    }
    const [first] = ofBig.ticks;
    await memory.enqueue(first?.claimed ?? []);
    const measured = ofBig.ticks.slice(WARM_UP[size]);
    return {
      calendars: shape.calendars,
      claimed: Math.min(...[...ofSmall.ticks, ...ofBig.ticks].map((tick) => tick.claimed.length)),
      tickMsSmall: toMs(durations(ofSmall.ticks.slice(WARM_UP[size])).median),
      tickMsBig: toMs(durations(measured).median),
      worstMsBig: toMs(durations(ofBig.ticks).worst),
      followingMsBig: toMs(durations(ofBig.following).median),
      idleTenantsMs: toMs(await claimOfIdle(open, IDLE[size])),
      redisBytes,
      redisBytesQueued: (await memory.bytes()) - bytesBefore,
      served: Math.min(...ofBig.ticks.map((tick) => servedInFull(tick.claimed, DUE_OF_OTHERS))),
      servedByAge: byAge,
    };
  } finally {
    await small.close();
    await big.close();
  }
}

async function openFilled(
  open: Open,
  name: string,
  { shape, now }: { readonly shape: PlannerShape; readonly now: number },
): Promise<Database> {
  const database = await open(name);
  await createMigrations(database, systemClock).apply();
  await generateCalendars(database, shape, now);
  return database;
}

/** As many tenants as calendars, and nothing due. */
async function claimOfIdle(open: Open, tenants: number): Promise<number> {
  const now = systemClock.now();
  const shape = { calendars: tenants, tenants, overdueOfOne: 0, overdueOfOthers: 0 };
  const database = await openFilled(open, "idle", { shape, now });
  try {
    const ticks = [];
    for (let tick = 0; tick < 5; tick += 1) ticks.push(await claim(database, now));
    return durations(ticks).median;
  } finally {
    await database.close();
  }
}

function toMs(ms: number): number {
  return Math.round(ms * 10) / 10;
}

function judge(run: DatabaseFigures, { short }: ScenarioOptions): readonly string[] {
  const bounds = createBounds();
  bounds.atLeast("claimed", run.claimed, CLAIMED_AT_ONCE);
  bounds.atLeast("served", run.served, OTHERS);
  bounds.atMost("redisBytes", run.redisBytes, 0);
  // Both can be missed: by age alone the others get nothing, and what is queued is seen in Redis.
  bounds.atMost("servedByAge", run.servedByAge, 0);
  bounds.atLeast("redisBytesQueued", run.redisBytesQueued, CLAIMED_AT_ONCE);
  if (!short) {
    bounds.atMost("tickMsBig", run.tickMsBig, 50);
    bounds.atMost("tickMsBig", run.tickMsBig, 2 * run.tickMsSmall);
    bounds.atMost("idleTenantsMs", run.idleTenantsMs, 10);
  }
  return bounds.missed.map((line) => `${run.database}: ${line}`);
}
