import { fork } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { z } from "zod";
import type { CalendarRow } from "../../../src/core/calendar-store.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { createPushTokens } from "../../../src/google/push-token.ts";
import { PUSH_TOKEN_PURPOSE } from "../../../src/open-google.ts";
import { createBounds, type Scenario, type ScenarioOptions } from "../scenario.ts";
import { openPushWorld, type PushPlan, type PushWorld } from "../push/push-world.ts";
import type { SurgeAnswers, SurgeOrder } from "./drive-surge.ts";

/**
 * Notifications and refresh requests by the million for the calendars of one tenant, while a person of
 * another tenant refreshes.
 *
 * accepted: answered 2xx; shed: refresh requests over a token's limit (429); errors: anything else. coalesced:
 * notifications for which nothing had to be written. googleCallsPerCalendarWindow: most refreshes of one
 * calendar that began within one quiet time. lost: calendars that no refresh has begun for since the last
 * notification that was sent for them. otherP99Ms, calmP99Ms: from a person's wish to its publish, during and
 * before. rssGrowthMb: of the whole process, simulator included.
 */
interface Surge extends PushPlan {
  readonly total: number;
  readonly perSecond: number;
  readonly calendars: number;
  readonly calmMs: number;
}

const PLAN: PushPlan = {
  accounts: 6,
  calendarsEach: 110,
  pollSeconds: 900,
  quietMs: 2_000,
  mostMs: 10_000,
  graceMs: 120_000,
  lateMs: 0,
  judgesSilence: true,
};
const TOTAL = 1_440_000;
const PACED: Surge = { ...PLAN, total: TOTAL, perSecond: 5_000, calendars: 500, calmMs: 30_000 };
const FAST: Surge = { ...PACED, perSecond: 0, calmMs: 2_000 };
const SHORT: Surge = {
  ...PLAN,
  calendarsEach: 11,
  quietMs: 400,
  mostMs: 2_000,
  total: 20_000,
  perSecond: 0,
  calendars: 50,
  calmMs: 1_000,
};

const answersSchema = z.object({
  sent: z.number(),
  byStatus: z.record(z.string(), z.number()),
  lastSentAt: z.array(z.number()),
}) satisfies z.ZodType<SurgeAnswers>;

const API_TOKEN = "surge-token";
/** One in so many is a refresh request through the API. */
const REQUEST_EVERY = 100;
const PROBE_EVERY_MS = 250;
const WAIT_MS = 240_000;

export const runSurge: Scenario = async (options) => {
  if (options.foreign !== undefined) throw new Error("surge needs channels of its own simulator");
  const bounds = createBounds();
  const judge = (seen: Episode, surge: Surge): void => {
    bounds.atMost("errors", seen.errors, 0);
    bounds.atMost("lost", seen.lost, 0);
    bounds.atLeast("sent", seen.sent, surge.total);
    bounds.atLeast("accepted or shed", seen.accepted + seen.shed, surge.total);
    bounds.atLeast("shed", seen.shed, surge.total > 60_000 ? 1 : 0);
    bounds.atMost("googleCallsPerCalendarWindow", seen.googleCallsPerCalendarWindow, 2);
    bounds.atLeast("coalesced", seen.coalesced, surge.total / 2);
    bounds.atLeast("calendars", seen.calendars, surge.calendars);
  };
  const first = options.short ? SHORT : PACED;
  const seen = await runEpisode(options, first);
  judge(seen, first);
  if (options.short) return { figures: { ...seen }, missed: bounds.missed };

  bounds.atMost("rssGrowthMb", seen.rssGrowthMb, 50);
  bounds.atMost("otherP99Ms", seen.otherP99Ms, Math.max(2 * seen.calmP99Ms, 500));
  options.say("once more, as fast as it is answered");
  const fast = await runEpisode(options, FAST);
  judge(fast, FAST);
  return {
    figures: { ...seen, fastAccepted: fast.accepted, fastErrors: fast.errors, fastLost: fast.lost },
    missed: bounds.missed,
  };
};

interface Episode {
  readonly sent: number;
  readonly accepted: number;
  readonly coalesced: number;
  readonly shed: number;
  readonly errors: number;
  readonly googleCallsPerCalendarWindow: number;
  readonly otherP99Ms: number;
  readonly calmP99Ms: number;
  readonly rssGrowthMb: number;
  readonly lost: number;
  readonly calendars: number;
}

async function runEpisode(
  { seed, say }: Pick<ScenarioOptions, "seed" | "say">,
  surge: Surge,
): Promise<Episode> {
  const sha256 = createHash("sha256").update(API_TOKEN).digest("hex");
  const world = await openPushWorld(seed, surge, { BALLAST_API_TOKENS: `surge:refresh:${sha256}` });
  try {
    const { target, other } = await connectAll(world, surge.calendars);
    say(`${String(target.length)} calendars are watched`);
    const calm = probe(world, other);
    await pause(surge.calmMs);
    const calmMs = await calm.stop();
    const memory = watchMemory();
    const busy = probe(world, other);
    const order = await orderOf(world, target, surge);
    const answers = await send(order);
    const otherMs = await busy.stop();
    const rssGrowthMb = memory.stop();
    say(`answers by status: ${JSON.stringify(answers.byStatus)}`);
    const lost = await countLost(world, target, answers);
    const shed = answers.byStatus["429"] ?? 0;
    const accepted = (answers.byStatus["204"] ?? 0) + (answers.byStatus["202"] ?? 0);
    return {
      sent: answers.sent,
      accepted,
      coalesced: await readCoalesced(world),
      shed,
      errors: answers.sent - accepted - shed,
      googleCallsPerCalendarWindow: mostInWindow(world, target, surge.quietMs),
      otherP99Ms: p99(otherMs),
      calmP99Ms: p99(calmMs),
      rssGrowthMb,
      lost,
      calendars: target.length,
    };
  } finally {
    await world.close();
  }
}

/** The first account is the other tenant's; all others are of the tenant that is surged. */
async function connectAll(
  world: PushWorld,
  count: number,
): Promise<{ readonly target: readonly CalendarRow[]; readonly other: CalendarRow }> {
  const { store } = world.home;
  for (const [index, { refreshToken }] of world.simulator.accounts().entries()) {
    const tenant = index === 0 ? "quiet" : "surged";
    await world.home.connect(tenant, `account-${String(index)}`, refreshToken);
  }
  await until("every calendar is published, and watched where that is possible", async () => {
    const accounts = await store.accounts.list({ limit: 100 });
    if (accounts.some(({ discoveredAt }) => discoveredAt === undefined)) return false;
    const { unwatched } = await store.channels.health(systemClock.now());
    const rows = await store.calendars.list({ limit: 1_000 });
    return unwatched === 0 && rows.every(({ requested, served }) => served >= requested);
  });
  const rows = await store.calendars.list({ limit: 1_000 });
  const other = rows.find(({ tenantId }) => tenantId === "quiet");
  if (other === undefined) throw new Error("The quiet tenant has no calendar");
  const target: CalendarRow[] = [];
  for (const row of rows) {
    if (target.length >= count) break;
    if (row.tenantId !== "surged") continue;
    if ((await store.channels.listOfCalendar(row.id)).length > 0) target.push(row);
  }
  return { target, other };
}

async function orderOf(
  { home }: PushWorld,
  target: readonly CalendarRow[],
  surge: Surge,
): Promise<SurgeOrder> {
  const tokens = createPushTokens(home.store.vault.deriveKeys(PUSH_TOKEN_PURPOSE));
  const { port } = home.config.http;
  const notifications: string[] = [];
  for (const { id } of target) {
    const channels = await home.store.channels.listOfCalendar(id);
    const channel = channels.findLast(({ state }) => state === "live");
    if (channel === undefined) throw new Error(`${id} is not watched`);
    notifications.push(
      `POST /google/notifications HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n` +
        `X-Goog-Channel-ID: ${channel.id}\r\nX-Goog-Channel-Token: ${tokens.tokenOf(channel.id)}\r\n` +
        `X-Goog-Resource-State: exists\r\n\r\n`,
    );
  }
  const wishes = target.map(({ id }) => askFor(id));
  const { total, perSecond } = surge;
  return { port, notifications, wishes, wishEvery: REQUEST_EVERY, total, perSecond };
}

function askFor(id: string): string {
  const body = JSON.stringify({ calendarId: id });
  return (
    `POST /v1/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${API_TOKEN}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${String(body.length)}\r\n\r\n${body}`
  );
}

async function send(order: SurgeOrder): Promise<SurgeAnswers> {
  const driver = fork(new URL("drive-surge.ts", import.meta.url).pathname);
  try {
    driver.send(order);
    const ended = once(driver, "exit").then(() => {
      throw new Error("The driver ended without an answer");
    });
    const answered: Promise<unknown[]> = once(driver, "message");
    const [answers] = await Promise.race([answered, ended]);
    return answersSchema.parse(answers);
  } finally {
    driver.kill();
  }
}

/** A person of the other tenant refreshes one calendar over and over. */
function probe(world: PushWorld, { id }: CalendarRow): { stop(): Promise<readonly number[]> } {
  const stopping = new AbortController();
  const run = async (): Promise<readonly number[]> => {
    const tookMs: number[] = [];
    while (!stopping.signal.aborted) {
      const startedMs = performance.now();
      const seen = world.runs.length;
      await world.home.store.calendars.request(id, {
        class: "interactive",
        dueAt: systemClock.now(),
      });
      while (!world.runs.slice(seen).some((one) => isRefreshOf(one, id))) await pause(5);
      tookMs.push(performance.now() - startedMs);
      await pause(PROBE_EVERY_MS);
    }
    return tookMs;
  };
  const running = run();
  return {
    stop() {
      stopping.abort();
      return running;
    },
  };
}

function isRefreshOf({ job, outcome, facts }: PushWorld["runs"][number], id: string): boolean {
  return job === "refresh-calendar" && outcome === "published" && facts["calendarId"] === id;
}

function watchMemory(): { stop(): number } {
  const before = process.memoryUsage.rss();
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 200);
  return {
    stop() {
      clearInterval(timer);
      return Math.round((most - before) / 1_048_576);
    },
  };
}

/** Calendars that no refresh has begun for since something was last accepted for them. */
async function countLost(
  { home, runs }: PushWorld,
  target: readonly CalendarRow[],
  { lastSentAt }: SurgeAnswers,
): Promise<number> {
  await until("every mark is served", async () => {
    const rows = await home.store.calendars.list({ limit: 1_000 });
    return rows.every(({ requested, served }) => served >= requested);
  });
  const offset = Date.now() - performance.now();
  return target.filter(({ id }, index) => {
    const sentAt = lastSentAt[index] ?? 0;
    const begins = runs
      .filter((run) => isRefreshOf(run, id))
      .map(({ endedMs, durationMs }) => endedMs - durationMs + offset);
    return Math.max(0, ...begins) < sentAt;
  }).length;
}

function mostInWindow(
  { runs }: PushWorld,
  target: readonly CalendarRow[],
  windowMs: number,
): number {
  const ids = new Set(target.map(({ id }) => String(id)));
  const begins = Map.groupBy(
    runs.filter(({ job, outcome }) => job === "refresh-calendar" && outcome === "published"),
    ({ facts }) => String(facts["calendarId"]),
  );
  let most = 0;
  for (const [id, of] of begins) {
    if (!ids.has(id)) continue;
    const times = of
      .map(({ endedMs, durationMs }) => endedMs - durationMs)
      .toSorted((a, b) => a - b);
    for (const from of times) {
      most = Math.max(most, times.filter((at) => at >= from && at < from + windowMs).length);
    }
  }
  return most;
}

async function readCoalesced({ home }: PushWorld): Promise<number> {
  const page = await (await fetch(new URL("/metrics", home.app.httpUrl))).text();
  const found = /^ballast_notifications_total\{outcome="coalesced"\} (\d+)/m.exec(page);
  return Number(found?.[1] ?? 0);
}

function p99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? 0);
}

function pause(durationMs: number): Promise<void> {
  return systemClock.sleep(durationMs, new AbortController().signal);
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS;
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) throw new Error(`Not in time: ${what}`);
    await pause(250);
  }
}
