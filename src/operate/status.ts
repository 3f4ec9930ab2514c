import type { AccountState, AccountStore } from "../core/account-store.ts";
import type { CalendarCounts, CalendarStore } from "../core/calendar-store.ts";
import type { ChannelStore, PushHealth } from "../core/channel-store.ts";
import { epochMs, type Clock, type EpochMs } from "../core/clock.ts";
import type { DeadGrants } from "../core/dead-grants.ts";
import type { ProjectTrouble, ProjectTroubles } from "../core/project-troubles.ts";
import type { QuotaStatus } from "../core/quota-status.ts";
import { Refused } from "../core/refusal.ts";
import { failureCode } from "../core/failure.ts";
import type { RequestClass } from "../core/request.ts";
import type { UsageStore } from "../core/usage-store.ts";

const RETRIES_OVER_MS = 5 * 60_000;
const SILENT_AT_LEAST = 3;
const SILENT_SHARE = 0.01;

export type Verdict = "ok" | "degraded" | "stopped" | "unknown";

/** What is going on, for a person, a script and a dashboard: the keys are public and versioned. */
export interface Status {
  readonly schemaVersion: 1;
  readonly at: EpochMs;
  readonly verdict: Verdict;
  /** One sentence in plain words; names no tenant. */
  readonly sentence: string;
  readonly calendars: CalendarCounts | undefined;
  readonly accounts: Readonly<Record<AccountState, number>> | undefined;
  /** What Google refuses many accounts for and is none of theirs' fault; empty when all is well. */
  readonly alarms: readonly Pick<ProjectTrouble, "code" | "detail" | "since">[];
  readonly quota: Pick<QuotaStatus, "minute" | "day" | "retryTokens"> | undefined;
  /** Retries ÷ requests of the last five minutes; undefined where there were none. */
  readonly retryShare: number | undefined;
  readonly breakers: QuotaStatus["breakers"];
  readonly backlog: Readonly<Record<RequestClass, number>> | undefined;
  /** How changes reach us; `silent` and `silentReplaced` are what polls found that nobody had told. */
  readonly push: PushHealth | undefined;
  readonly pauses: QuotaStatus["pauses"];
  /** Calendars set aside with their reason. */
  readonly deadLetters: number | undefined;
}

export interface StatusDeps {
  readonly calendars: Pick<CalendarStore, "counts" | "backlog">;
  readonly accounts: Pick<AccountStore, "countsByState">;
  readonly channels: Pick<ChannelStore, "health">;
  readonly usage: Pick<UsageStore, "attempts">;
  readonly deadGrants: Pick<DeadGrants, "holds">;
  readonly projectTroubles: Pick<ProjectTroubles, "list">;
  /**
   * `opening`: the ledger is reachable and cannot vouch for the budget yet; `not-asked`: nobody is here
   * who could ask it. Throws a `Refused` when it cannot be reached.
   */
  readonly readQuota: () => Promise<QuotaStatus | "opening" | "not-asked">;
  readonly clock: Clock;
}

/** Gather the status. Never throws for a dependency that is down: that is what it is there to say. */
export function createStatus(deps: StatusDeps): () => Promise<Status> {
  return async () => {
    const at = deps.clock.now();
    const [facts, answer] = await Promise.all([
      readDatabase(deps, at),
      orUndefined(() => deps.readQuota()),
    ]);
    const quota = typeof answer === "object" ? answer : undefined;
    const breakers = quota?.breakers ?? [];
    const pauses = quota?.pauses ?? [];
    return {
      schemaVersion: 1,
      at,
      ...judge({ facts, quota: answer }),
      calendars: facts?.calendars,
      accounts: facts?.accounts,
      alarms: shownAlarms(facts),
      quota: shownQuota(quota),
      retryShare: facts?.retryShare,
      breakers,
      backlog: facts?.backlog,
      push: facts?.push,
      pauses,
      deadLetters: facts?.calendars.slowed,
    };
  };
}

function shownQuota(quota: QuotaStatus | undefined): Status["quota"] {
  if (quota === undefined) return undefined;
  return { minute: quota.minute, day: quota.day, retryTokens: quota.retryTokens };
}

function shownAlarms(facts: DatabaseFacts | undefined): Status["alarms"] {
  return (facts?.alarms ?? []).map(({ code, detail, since }) => ({ code, detail, since }));
}

interface DatabaseFacts {
  readonly calendars: CalendarCounts;
  readonly accounts: Readonly<Record<AccountState, number>>;
  readonly backlog: Readonly<Record<RequestClass, number>>;
  readonly push: PushHealth;
  readonly retryShare: number | undefined;
  /** Accounts that are kept connected although Google refuses them; undefined: disconnecting goes on as usual. */
  readonly refused: number | undefined;
  readonly alarms: readonly ProjectTrouble[];
}

async function readDatabase(deps: StatusDeps, at: EpochMs): Promise<DatabaseFacts | undefined> {
  return orUndefined(async () => {
    const [calendars, accounts, backlog, push, { first, retry }, holds, alarms] = await Promise.all(
      [
        deps.calendars.counts(),
        deps.accounts.countsByState(),
        deps.calendars.backlog(at),
        deps.channels.health(at),
        deps.usage.attempts(epochMs(at - RETRIES_OVER_MS)),
        deps.deadGrants.holds(at),
        deps.projectTroubles.list(at),
      ],
    );
    const retryShare = first + retry === 0 ? undefined : retry / (first + retry);
    const refused =
      holds.length === 0 ? undefined : holds.reduce((sum, { failing }) => sum + failing, 0);
    return { calendars, accounts, backlog, push, retryShare, refused, alarms };
  });
}

async function orUndefined<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Refused) return undefined;
    throw error;
  }
}

interface Judgement {
  readonly verdict: Verdict;
  readonly sentence: string;
}

/** The most important thing first: what stops all work, then what slows it, then how it goes. */
function judge(known: {
  readonly facts: DatabaseFacts | undefined;
  readonly quota: QuotaStatus | "opening" | "not-asked" | undefined;
}): Judgement {
  const { facts, quota } = known;
  if (facts === undefined) {
    return { verdict: "unknown", sentence: "The database cannot be read, so nothing is fetched." };
  }
  if (quota === undefined) {
    return {
      verdict: "stopped",
      sentence: "Redis cannot be asked for the quota, so no request leaves for Google.",
    };
  }
  if (quota === "opening") {
    return {
      verdict: "stopped",
      sentence:
        "The quota ledger is opening, which takes up to about a minute; until then no request leaves for Google.",
    };
  }
  if (quota === "not-asked") return judgeCalendars(facts);
  if (quota.stop !== undefined) {
    return { verdict: "stopped", sentence: sentenceOfStop(quota.stop) };
  }
  const everything = quota.pauses.find(({ scope }) => scope === "project");
  if (everything !== undefined) {
    return { verdict: "stopped", sentence: `Everything is paused: ${everything.reason}.` };
  }
  if (quota.breakers.length > 0) {
    const upstreams = quota.breakers.map(({ upstream }) => upstream).join(" and ");
    return {
      verdict: "degraded",
      sentence: `Google's ${upstreams} is failing; only probes go out until it recovers.`,
    };
  }
  return judgeCalendars(facts);
}

function sentenceOfStop({ reason, until }: NonNullable<QuotaStatus["stop"]>): string {
  const when = new Date(until).toISOString();
  if (reason === "api-not-enabled") {
    return `The Calendar API is not enabled in the Google Cloud project: nothing is sent until an operator enables it; Google is asked again at ${when}.`;
  }
  if (reason === "day-limit-exceeded") {
    return `Google says that the project's day is spent: nothing is sent until ${when}.`;
  }
  return `Google refuses the whole project (${reason}): nothing is sent until ${when}.`;
}

function judgeCalendars({
  calendars,
  accounts,
  push,
  refused,
  alarms: [alarm],
}: DatabaseFacts): Judgement {
  if (alarm !== undefined) return { verdict: "degraded", sentence: sentenceOfTrouble(alarm) };
  if (refused !== undefined) {
    return {
      verdict: "degraded",
      sentence: `Google refuses the credentials of many accounts at once (${String(refused)} lately); none is disconnected until \`ballast resume disconnects\`.`,
    };
  }
  if (calendars.total === 0) {
    return { verdict: "ok", sentence: "No calendars yet: connect an account to begin." };
  }
  const troubles = [
    count(accounts["needs-reconnect"], "account needs to reconnect", "accounts need to reconnect"),
    count(calendars.slowed, "calendar is set aside", "calendars are set aside"),
    count(calendars.stale, "calendar is stale", "calendars are stale"),
    sentenceOfSilence(push),
  ].filter((trouble) => trouble !== undefined);
  const fresh = `${String(calendars.fresh)} of ${String(calendars.total)} calendars are fresh`;
  if (troubles.length > 0) {
    return { verdict: "degraded", sentence: `${fresh}; ${troubles.join("; ")}.` };
  }
  if (calendars.never > 0) {
    return {
      verdict: "ok",
      sentence: `${fresh}; ${String(calendars.never)} wait for their first sync.`,
    };
  }
  return { verdict: "ok", sentence: `Syncing normally: ${fresh}.` };
}

function sentenceOfTrouble({ code, detail }: ProjectTrouble): string {
  return code === failureCode("clock-skewed")
    ? `This machine's clock is off (${detail}), so Google refuses service accounts; none is disconnected.`
    : `Google does not accept the OAuth client or service account (${detail}); no account is disconnected.`;
}

/**
 * One notification gets lost now and then, and its channel is replaced: no trouble. Many that are silent at
 * once, or all there are, mean that what Google sends does not arrive.
 */
function sentenceOfSilence({ silent, watched }: PushHealth): string | undefined {
  const many = Math.max(SILENT_AT_LEAST, watched * SILENT_SHARE);
  if (silent === 0 || (silent < many && silent < watched)) return undefined;
  return `Google's notifications do not arrive (${String(silent)} of ${String(watched)} watched calendars changed without a word; polls find it later)`;
}

function count(amount: number, one: string, many: string): string | undefined {
  if (amount === 0) return undefined;
  return amount === 1 ? `1 ${one}` : `${String(amount)} ${many}`;
}
