import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { loadConfig } from "../../../src/config/config.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { tenantId } from "../../../src/core/ids.ts";
import { makeApiToken } from "../../../src/core/token-store.ts";
import { obtainRedis } from "../../../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../../../src/embedded/redis-server.ts";
import { openAppStore } from "../../../src/operator-app.ts";
import type { Store } from "../../../src/store/open-store.ts";
import { publishEvents, settleTenant, type Inhabitant } from "../isolation/api-world.ts";
import { createBounds, type Scenario } from "../scenario.ts";
import type { SurgeAnswers, SurgeOrder } from "../surge/drive-surge.ts";
import { pause, percentile } from "../wait-until.ts";
import type { WebFigures } from "./web-process.ts";

/**
 * 1.44 million `GET /v1/busy` from one tenant's token, while its calendars are published again and again and another
 * tenant's page asks now and then. Load generator and web server are processes of their own.
 *
 * served: 200; limited: 429; errors: anything else. queriesPerCalendarGeneration: the most reads of events that the
 * web server made for one calendar, window and generation (that a calendar has a new one is looked up at most
 * five times a second, for all of them together). otherP99Ms, calmP99Ms: the other tenant's answers during the
 * surge and before. rssGrowthMb: of the web server.
 */
interface Plan {
  readonly total: number;
  /** 0: as fast as they are answered. */
  readonly perSecond: number;
  readonly calendars: number;
  readonly calmMs: number;
  readonly env: Readonly<Record<string, string>>;
}

const FULL: Plan = { total: 1_440_000, perSecond: 5_000, calendars: 50, calmMs: 30_000, env: {} };
const SHORT: Plan = {
  total: 12_000,
  // Slow enough for publishes to come in between, before the limit is met.
  perSecond: 3_000,
  calendars: 10,
  calmMs: 500,
  // A hundred times as many reads.
  env: { BALLAST_HTTP_CONSUMER_PER_MINUTE: "60" },
};
const WINDOW_DAYS = [1, 7, 30];
const PROBE_EVERY_MS = 50;
const PUBLISH_EVERY_MS = 100;
const DAY_MS = 86_400_000;
const SEEN_ANEW = 5;
const FROM = Date.UTC(2026, 0, 5);

const figuresSchema = z.object({
  mostReads: z.number(),
  read: z.number(),
  rssBytes: z.number(),
}) satisfies z.ZodType<WebFigures>;
const answersSchema = z.object({
  sent: z.number(),
  byStatus: z.record(z.string(), z.number()),
  lastSentAt: z.array(z.number()),
}) satisfies z.ZodType<SurgeAnswers>;

export const runReadSurge: Scenario = async ({ short, foreign, say }) => {
  if (foreign !== undefined) throw new Error("read-surge asks Ballast alone");
  const plan = short ? SHORT : FULL;
  const world = await openWorld(plan);
  try {
    const calm = probe(world);
    await pause(plan.calmMs);
    const calmMs = await calm.stop();
    const { rssBytes } = await world.figures();
    const writer = publishAgain(world);
    const busy = probe(world);
    const memory = watchMemory(world);
    const answers = await send(world, plan);
    const mostBytes = await memory.stop();
    const otherMs = await busy.stop();
    const published = await writer.stop();
    const { mostReads, read } = await world.figures();
    say(`answers by status: ${JSON.stringify(answers.byStatus)}; ${String(published)} publishes`);
    const served = answers.byStatus["200"] ?? 0;
    const limited = answers.byStatus["429"] ?? 0;
    const result = {
      sent: answers.sent,
      served,
      limited,
      errors: answers.sent - served - limited,
      queriesPerCalendarGeneration: mostReads,
      otherP99Ms: percentile(otherMs, 0.99),
      calmP99Ms: percentile(calmMs, 0.99),
      rssGrowthMb: Math.round((mostBytes - rssBytes) / 1_048_576),
      published,
      read,
    };
    const bounds = createBounds();
    bounds.atMost("errors", result.errors, 0);
    bounds.atLeast("sent", result.sent, plan.total);
    bounds.atLeast("served", served, plan.total / 10);
    bounds.atLeast("limited", limited, 1);
    bounds.atMost("queriesPerCalendarGeneration", mostReads, 1);
    // One more is the other tenant's. That generations changed while they were read, or the bound above says nothing.
    bounds.atLeast("read", read, plan.calendars * WINDOW_DAYS.length + 1 + SEEN_ANEW);
    bounds.atLeast("answers of the other tenant", otherMs.length, 1);
    if (!short) {
      bounds.atMost("otherP99Ms", result.otherP99Ms, Math.max(2 * result.calmP99Ms, 200));
      bounds.atMost("rssGrowthMb", result.rssGrowthMb, 250);
    }
    return { figures: result, missed: bounds.missed };
  } finally {
    await world.close();
  }
};

interface SurgeWorld {
  readonly store: Store;
  readonly url: string;
  readonly surged: Inhabitant;
  readonly quiet: Inhabitant;
  readonly tokens: { readonly surged: string; readonly quiet: string };
  figures(): Promise<WebFigures>;
  close(): Promise<void>;
}

async function openWorld(plan: Plan): Promise<SurgeWorld> {
  const directory = await mkdtemp(join(tmpdir(), "ballast-read-surge-"));
  const program = await obtainRedis(
    { searchPath: process.env["PATH"] ?? "" },
    { say: () => undefined },
  );
  const redis = await startPrivateRedis({ program, persistent: false }, { clock: systemClock });
  const env = {
    PATH: process.env["PATH"] ?? "",
    REDIS_URL: redis.url,
    BALLAST_DATA_DIR: directory,
    BALLAST_HTTP_PORT: "0",
    BALLAST_LOG_LEVEL: process.env["BALLAST_LOG_LEVEL"] ?? "error",
    ...plan.env,
  };
  const store = await openAppStore(
    loadConfig(env),
    { clock: systemClock },
    { migrateWhenEmpty: true },
  );
  const names = Array.from({ length: plan.calendars }, (_, at) => `c${String(at)}`);
  const surged = await settleTenant(store, "surged", names);
  const quiet = await settleTenant(store, "quiet", ["only"]);
  const tokens = {
    surged: await makeToken(store, surged),
    quiet: await makeToken(store, quiet),
  };
  const web = fork(new URL("web-process.ts", import.meta.url).pathname, { env });
  const { url } = z.object({ url: z.string() }).parse(await next(web));
  return {
    store,
    url,
    surged,
    quiet,
    tokens,
    async figures() {
      const answer = next(web);
      web.send("figures");
      return figuresSchema.parse(await answer);
    },
    async close() {
      const ended = once(web, "exit");
      if (web.connected) web.disconnect();
      if (web.exitCode === null) await ended;
      await store.close();
      await redis.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function makeToken(store: Store, { tenant }: Inhabitant): Promise<string> {
  const now = systemClock.now();
  const { id, token, sha256 } = makeApiToken(now);
  const row = { id, sha256, name: "page", scopes: ["read"], tenantId: tenantId(tenant) };
  await store.tokens.create(row, { actor: "scenario", now });
  return token;
}

/** What a child says next; fails when it ends instead. */
async function next(child: ChildProcess): Promise<unknown> {
  const done = new AbortController();
  try {
    const ended = once(child, "exit", { signal: done.signal }).then(() => {
      throw new Error("The process ended without an answer");
    });
    const said: Promise<unknown[]> = once(child, "message", { signal: done.signal });
    const [message] = await Promise.race([said, ended]);
    return message;
  } finally {
    done.abort();
  }
}

async function send({ url, surged, tokens }: SurgeWorld, plan: Plan): Promise<SurgeAnswers> {
  const order: SurgeOrder = {
    port: Number(new URL(url).port),
    notifications: surged.calendars.flatMap((id) =>
      WINDOW_DAYS.map((days) => askFor(id, { days, token: tokens.surged })),
    ),
    wishes: [],
    wishEvery: Number.MAX_SAFE_INTEGER,
    total: plan.total,
    perSecond: plan.perSecond,
  };
  const driver = fork(new URL("../surge/drive-surge.ts", import.meta.url).pathname);
  try {
    driver.send(order);
    return answersSchema.parse(await next(driver));
  } finally {
    driver.kill();
  }
}

function askFor(
  id: string,
  { days, token }: { readonly days: number; readonly token: string },
): string {
  return (
    `GET ${pathFor(id, days)} HTTP/1.1\r\nHost: 127.0.0.1\r\n` +
    `Authorization: Bearer ${token}\r\n\r\n`
  );
}

function pathFor(id: string, days: number): string {
  const [from, to] = [FROM, FROM + days * DAY_MS].map((at) => new Date(at).toISOString());
  return `/v1/busy?calendarId=${id}&from=${String(from)}&to=${String(to)}`;
}

interface Running<Result> {
  stop(): Promise<Result>;
}

function keepDoing<Result>(
  everyMs: number,
  act: () => Promise<void>,
  result: () => Result,
): Running<Result> {
  const stopping = new AbortController();
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await act();
      await pause(everyMs);
    }
  };
  const running = run();
  return {
    async stop() {
      stopping.abort();
      await running;
      return result();
    },
  };
}

/** The other tenant's page. */
function probe({ url, quiet, tokens }: SurgeWorld): Running<readonly number[]> {
  const tookMs: number[] = [];
  const path = pathFor(quiet.calendars[0] ?? "", 7);
  const headers = { authorization: `Bearer ${tokens.quiet}` };
  return keepDoing(
    PROBE_EVERY_MS,
    async () => {
      const startedMs = performance.now();
      const answer = await fetch(`${url}${path}`, { headers });
      await answer.arrayBuffer();
      if (answer.status !== 200) throw new Error(`The other tenant got ${String(answer.status)}`);
      tookMs.push(performance.now() - startedMs);
    },
    () => tookMs,
  );
}

/** What a worker does meanwhile: one calendar after the other gets another generation. */
function publishAgain({ store, surged }: SurgeWorld): Running<number> {
  let published = 0;
  return keepDoing(
    PUBLISH_EVERY_MS,
    async () => {
      const id = surged.calendars[published % surged.calendars.length];
      published += 1;
      const version = published + 1;
      if (id !== undefined) await publishEvents(store, id, { word: surged.word, version });
    },
    () => published,
  );
}

function watchMemory(world: SurgeWorld): Running<number> {
  let most = 0;
  return keepDoing(
    1_000,
    async () => {
      most = Math.max(most, (await world.figures()).rssBytes);
    },
    () => most,
  );
}
