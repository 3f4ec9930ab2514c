import { fork } from "node:child_process";
import { once } from "node:events";
import { z } from "zod";
import type { CalendarRow } from "../../../src/core/calendar-store.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { createPushTokens } from "../../../src/google/push-token.ts";
import { PUSH_TOKEN_PURPOSE } from "../../../src/open-google.ts";
import { createBounds, type Scenario, type ScenarioOptions } from "../scenario.ts";
import { pause, percentile, waitUntil } from "../wait-until.ts";
import type { SurgeAnswers, SurgeOrder } from "./drive-surge.ts";
import { followListings, mostWithin, type Listings, type Place } from "./follow-listings.ts";
import { openFleet, type Fleet, type FleetPlan } from "./surge-fleet.ts";

/**
 * Notifications and refresh requests by the million for the calendars of one tenant, while a person of
 * another tenant refreshes. Web server, worker, Redis, Google and sender are processes of their own.
 *
 * accepted: answered 2xx; shed: refresh requests over a limit (429); redelivered: answered 503 (it could not
 * be kept in time) and sent again, as Google does, which at 5,000 a second must not be needed; errors: anything
 * else. coalesced: notifications for which nothing had to be written. googleCallsPerCalendarWindow: most
 * listings of one calendar that came to Google within one quiet time. lost: calendars that Google was not asked
 * for since the last notification that was accepted for them. otherP99Ms, calmP99Ms: from a person's
 * `POST /v1/refresh` to the publish that serves it, during the surge and before. rssGrowthMb: the web process,
 * resident, most at any time after the surge's first minute against the most until then; nothing is collected
 * for it. The minute is the collector's: it lets a heap of 50 MB grow to three times that before it looks
 * through it, and does so twice in that time. After it memory stands still, or something is kept. webMb: what
 * it stands at. webCpuMicros: processor time of the web process for each request, whatever else the machine does.
 * fast…: once more, as fast as it is answered. control…: without a quiet time, which must miss the bound.
 */
interface Surge extends FleetPlan {
  readonly calendars: number;
  readonly calmMs: number;
  readonly phases: readonly Phase[];
}

interface Phase {
  readonly total: number;
  /** 0: as fast as it is answered. */
  readonly perSecond: number;
  readonly warmMs: number;
}

const TOTAL = 1_440_000;
const FULL: Surge = {
  accounts: 27,
  calendarsEach: 20,
  quietMs: 2_000,
  mostMs: 10_000,
  requestsPerMinute: 600,
  calendars: 500,
  calmMs: 10_000,
  phases: [
    { total: TOTAL, perSecond: 5_000, warmMs: 60_000 },
    { total: TOTAL, perSecond: 0, warmMs: 0 },
  ],
};
const SHORT: Surge = {
  ...FULL,
  accounts: 3,
  calendarsEach: 29,
  quietMs: 400,
  mostMs: 2_000,
  requestsPerMinute: 300,
  calendars: 50,
  calmMs: 500,
  phases: [{ total: 20_000, perSecond: 0, warmMs: 0 }],
};
/** Each notification leads to a refresh at once: what the quiet time is good for. */
const CONTROL: Surge = {
  ...SHORT,
  accounts: 2,
  calendarsEach: 14,
  quietMs: 0,
  mostMs: 0,
  calendars: 10,
  calmMs: 0,
  phases: [{ total: 4_000, perSecond: 1_000, warmMs: 0 }],
};

const MOST_CALLS = 2;
const MOST_GROWTH_MB = 50;
const LEAST_OTHER_MS = 500;
/** One in so many is a refresh request through the API. */
const REQUEST_EVERY = 20;
const PROBE_EVERY_MS = 150;

const answersSchema = z.object({
  sent: z.number(),
  byStatus: z.record(z.string(), z.number()),
  lastSentAt: z.array(z.number()),
}) satisfies z.ZodType<SurgeAnswers>;

export const runSurge: Scenario = async (options) => {
  if (options.foreign !== undefined) throw new Error("surge needs channels of its own simulator");
  const bounds = createBounds();
  const plan = options.short ? SHORT : FULL;
  const judge = (name: string, seen: Seen, { total }: Phase): void => {
    bounds.atMost(`${name}errors`, seen.errors, 0);
    bounds.atMost(`${name}lost`, seen.lost, 0);
    bounds.atLeast(`${name}sent`, seen.sent, total);
    bounds.atLeast(`${name}accepted or shed`, seen.accepted + seen.shed, total);
    bounds.atLeast(`${name}shed`, seen.shed, 1);
    bounds.atMost(`${name}calls`, seen.googleCallsPerCalendarWindow, MOST_CALLS);
    bounds.atLeast(`${name}coalesced`, seen.coalesced, total / 2);
  };
  const { calmP99Ms, phases } = await runEpisode(options, plan, plan.quietMs);
  for (const [index, phase] of plan.phases.entries()) {
    const seen = phases[index];
    if (seen === undefined) throw new Error("A phase is missing");
    judge(index === 0 ? "" : "fast ", seen, phase);
  }
  const [first, fast] = phases;
  if (first === undefined) throw new Error("Nothing was sent");
  if (fast === undefined) return { figures: { ...first, calmP99Ms }, missed: bounds.missed };

  bounds.atMost("redelivered", first.redelivered, 0);
  bounds.atMost("rssGrowthMb", first.rssGrowthMb, MOST_GROWTH_MB);
  bounds.atMost("otherP99Ms", first.otherP99Ms, Math.max(2 * calmP99Ms, LEAST_OTHER_MS));
  options.say("control: without a quiet time");
  const control = await runEpisode(options, CONTROL, FULL.quietMs);
  const controlCalls = control.phases[0]?.googleCallsPerCalendarWindow ?? 0;
  bounds.atLeast("the control's calls", controlCalls, MOST_CALLS + 1);
  return {
    figures: {
      ...first,
      calmP99Ms,
      fastSent: fast.sent,
      fastPerSecond: fast.perSecond,
      fastAccepted: fast.accepted,
      fastShed: fast.shed,
      fastErrors: fast.errors,
      fastRedelivered: fast.redelivered,
      fastLost: fast.lost,
      fastCallsPerCalendarWindow: fast.googleCallsPerCalendarWindow,
      fastRssGrowthMb: fast.rssGrowthMb,
      fastWebCpuMicros: fast.webCpuMicros,
      controlCallsPerCalendarWindow: controlCalls,
    },
    missed: bounds.missed,
  };
};

interface Seen {
  readonly sent: number;
  readonly perSecond: number;
  readonly accepted: number;
  readonly coalesced: number;
  readonly shed: number;
  readonly redelivered: number;
  readonly errors: number;
  readonly googleCallsPerCalendarWindow: number;
  readonly otherP99Ms: number;
  readonly rssGrowthMb: number;
  readonly webMb: number;
  readonly webCpuMicros: number;
  readonly lost: number;
}

interface Episode {
  readonly fleet: Fleet;
  readonly listings: Listings;
  readonly target: readonly Target[];
  readonly quiet: Person;
  readonly order: Pick<SurgeOrder, "port" | "notifications" | "wishes" | "wishEvery">;
  readonly windowMs: number;
  readonly say: (line: string) => void;
}

interface Target extends Place {
  readonly id: CalendarRow["id"];
}

/** Who refreshes one calendar by hand. */
interface Person {
  readonly id: CalendarRow["id"];
  readonly token: string;
}

async function runEpisode(
  { seed, say }: Pick<ScenarioOptions, "seed" | "say">,
  surge: Surge,
  windowMs: number,
): Promise<{ readonly calmP99Ms: number; readonly phases: readonly Seen[] }> {
  const fleet = await openFleet(seed, surge, say);
  const listings = followListings(fleet.google.controlUrl);
  try {
    const { target, quiet } = await connectAll(fleet, surge.calendars);
    say(`${String(target.length)} calendars are watched`);
    if (target.length < surge.calendars) throw new Error("Too few calendars can be watched");
    const order = await orderOf(fleet, target);
    const calm = probe(fleet, quiet);
    await pause(surge.calmMs);
    const calmP99Ms = percentile(await calm.stop(), 0.99);
    const phases: Seen[] = [];
    for (const phase of surge.phases) {
      const episode = { fleet, listings, target, quiet, order, windowMs, say };
      phases.push(await runPhase(episode, phase));
    }
    return { calmP99Ms, phases };
  } finally {
    await listings.stop();
    await fleet.close();
  }
}

async function runPhase(episode: Episode, phase: Phase): Promise<Seen> {
  const { fleet, listings, target, order, windowMs, say } = episode;
  const before = await readMetrics(fleet);
  const startedAt = Date.now();
  const memory = watchMemory(fleet, phase.warmMs);
  const busy = probe(fleet, episode.quiet);
  const answers = await send({ ...order, ...phase });
  const tookMs = Date.now() - startedAt;
  const otherMs = await busy.stop();
  const { growthMb: rssGrowthMb, mostMb: webMb } = await memory.stop();
  const after = await readMetrics(fleet);
  say(`${String(Math.round(tookMs / 1_000))} s; by status: ${JSON.stringify(answers.byStatus)}`);
  await waitUntil("every mark is served", async () => {
    const rows = await fleet.store.calendars.list({ limit: 1_000 });
    return rows.every(({ requested, served }) => served >= requested);
  });
  await listings.look();
  const shed = answers.byStatus["429"] ?? 0;
  const accepted = (answers.byStatus["204"] ?? 0) + (answers.byStatus["202"] ?? 0);
  const redelivered = answers.byStatus["503"] ?? 0;
  const answered = Object.values(answers.byStatus).reduce((sum, count) => sum + count, 0);
  const since = target.map((one) => listings.of(one).filter((at) => at >= startedAt));
  return {
    sent: answers.sent,
    perSecond: Math.round((answers.sent / tookMs) * 1_000),
    accepted,
    coalesced: after.coalesced - before.coalesced,
    shed,
    redelivered,
    errors: answered - accepted - shed - redelivered,
    googleCallsPerCalendarWindow: Math.max(...since.map((times) => mostWithin(times, windowMs))),
    otherP99Ms: percentile(otherMs, 0.99),
    rssGrowthMb,
    webMb,
    webCpuMicros: Math.round(((after.cpuSeconds - before.cpuSeconds) / answered) * 1_000_000),
    lost: since.filter((times, index) => Math.max(0, ...times) < (answers.lastSentAt[index] ?? 0))
      .length,
  };
}

/** The first account is the other tenant's; all others are of the tenant that is surged. */
async function connectAll(
  fleet: Fleet,
  count: number,
): Promise<{ readonly target: readonly Target[]; readonly quiet: Person }> {
  const { store, google } = fleet;
  for (const [index, { refreshToken }] of google.accounts.entries()) {
    await fleet.connect(index === 0 ? "quiet" : "surged", `account-${String(index)}`, refreshToken);
  }
  await waitUntil("every calendar is published, and watched where that is possible", async () => {
    const accounts = await store.accounts.list({ limit: 100 });
    if (accounts.some(({ discoveredAt }) => discoveredAt === undefined)) return false;
    const { unwatched } = await store.channels.health(systemClock.now());
    const rows = await store.calendars.list({ limit: 1_000 });
    return unwatched === 0 && rows.every(({ requested, served }) => served >= requested);
  });
  const accounts = await store.accounts.list({ limit: 100 });
  const emailOf = new Map(
    accounts.map(({ id, name }) => {
      const email = google.accounts[Number(name.slice("account-".length))]?.email ?? "";
      return [id, email];
    }),
  );
  const rows = await store.calendars.list({ limit: 1_000 });
  const other = rows.find(({ tenantId }) => tenantId === "quiet");
  if (other === undefined) throw new Error("The quiet tenant has no calendar");
  const target: Target[] = [];
  for (const { id, tenantId, accountId, googleId } of rows) {
    if (target.length >= count) break;
    if (tenantId !== "surged") continue;
    if ((await store.channels.listOfCalendar(id)).length === 0) continue;
    target.push({ id, account: emailOf.get(accountId) ?? "", googleId });
  }
  return { target, quiet: { id: other.id, token: await fleet.makeToken("quiet") } };
}

async function orderOf(fleet: Fleet, target: readonly Target[]): Promise<Episode["order"]> {
  const { store, port } = fleet;
  const tokens = createPushTokens(store.vault.deriveKeys(PUSH_TOKEN_PURPOSE));
  const notifications: string[] = [];
  for (const { id } of target) {
    const channels = await store.channels.listOfCalendar(id);
    const channel = channels.findLast(({ state }) => state === "live");
    if (channel === undefined) throw new Error(`${id} is not watched`);
    notifications.push(
      `POST /google/notifications HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n` +
        `X-Goog-Channel-ID: ${channel.id}\r\nX-Goog-Channel-Token: ${tokens.tokenOf(channel.id)}\r\n` +
        `X-Goog-Resource-State: exists\r\n\r\n`,
    );
  }
  const token = await fleet.makeToken("surged");
  const wishes = target.map(({ id }) => {
    const body = JSON.stringify({ calendarId: id });
    return (
      `POST /v1/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${String(body.length)}\r\n\r\n${body}`
    );
  });
  return { port, notifications, wishes, wishEvery: REQUEST_EVERY };
}

async function send(order: SurgeOrder): Promise<SurgeAnswers> {
  const driver = fork(new URL("drive-surge.ts", import.meta.url).pathname, {
    env: { PATH: process.env["PATH"] },
  });
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
function probe(
  { httpUrl, store }: Fleet,
  { id, token }: Person,
): { stop(): Promise<readonly number[]> } {
  const stopping = new AbortController();
  const refresh = async (): Promise<number> => {
    const answer = await fetch(`${httpUrl}/v1/refresh`, {
      method: "POST",
      body: JSON.stringify({ calendarId: id }),
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    });
    const { mark } = markSchema.parse(await answer.json());
    return mark;
  };
  const run = async (): Promise<readonly number[]> => {
    const tookMs: number[] = [];
    while (!stopping.signal.aborted) {
      const startedMs = performance.now();
      const mark = await refresh();
      while (((await store.calendars.get(id))?.served ?? 0) < mark) await pause(5);
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

const markSchema = z.object({ mark: z.number() });

interface Memory {
  readonly growthMb: number;
  readonly mostMb: number;
}

function watchMemory(fleet: Fleet, warmMs: number): { stop(): Promise<Memory> } {
  const stopping = new AbortController();
  const startedMs = performance.now();
  const watch = async (): Promise<Memory> => {
    let before = await fleet.webMegabytes();
    let most = before;
    while (!stopping.signal.aborted) {
      await pause(200);
      most = Math.max(most, await fleet.webMegabytes());
      if (performance.now() - startedMs < warmMs) before = most;
    }
    return { growthMb: Math.round(most - before), mostMb: Math.round(most) };
  };
  const watching = watch();
  return {
    stop() {
      stopping.abort();
      return watching;
    },
  };
}

async function readMetrics({
  httpUrl,
}: Fleet): Promise<{ readonly coalesced: number; readonly cpuSeconds: number }> {
  const page = await (await fetch(`${httpUrl}/metrics`)).text();
  const coalesced = /^ballast_notifications_total\{outcome="coalesced"\} (\d+)/m.exec(page)?.[1];
  const cpuSeconds = /^process_cpu_seconds_total ([\d.e+-]+)/m.exec(page)?.[1];
  return { coalesced: Number(coalesced ?? 0), cpuSeconds: Number(cpuSeconds ?? 0) };
}
