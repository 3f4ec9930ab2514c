import type { Command } from "commander";
import type { Config } from "../../config/config.ts";
import type { AccountRow } from "../../core/account-store.ts";
import type { CalendarRow, DueReason } from "../../core/calendar-store.ts";
import type { ChannelRow } from "../../core/channel-store.ts";
import type { EpochMs } from "../../core/clock.ts";
import type { CalendarId } from "../../core/ids.ts";
import type { PastRefresh, RefreshPast } from "../../core/refresh-history.ts";
import { whatHolds } from "../../operator-held.ts";
import { readPolled } from "../../operator-polls.ts";
import { calendarIdArgument } from "../arguments.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { formatAge, formatTable, printable } from "../output.ts";
import { unknownCalendar } from "../unknown-calendar.ts";
import { readQuota } from "../read-quota.ts";
import { withStore, type Store } from "../with-store.ts";

interface Options {
  readonly json?: true;
}

interface Findings {
  readonly at: EpochMs;
  readonly calendar: CalendarRow;
  readonly account: AccountRow | undefined;
  readonly past: RefreshPast;
  readonly channels: readonly ChannelRow[];
  readonly polled: Polled;
  /** What keeps it from being taken although it is due. */
  readonly heldBy: string | undefined;
}

type Polled = NonNullable<Awaited<ReturnType<typeof readPolled>>>;

interface Pause {
  readonly of: "account" | "calendar";
  readonly reason: string;
}

/** Every reason for a due time in words. */
const IN_WORDS: Readonly<Record<DueReason, string>> = {
  "first-sync": "it has never been read",
  requested: "someone asked for it: a person, a program or a notification from Google",
  poll: "the safety net: nobody asked, and it is looked at from time to time",
  "more-pages": "a long listing gave way to others and goes on from its page",
  backoff: "its last refresh failed, and it is tried again after a wait",
  "retry-after": "Google said when to come back",
  budget: "the quota had no room for it",
  paused: "a pause held it when its turn came",
  "store-unavailable": "the database could not take what would have been fetched",
  "upstream-down": "Google's API was failing for the whole fleet",
  "confirm-lost": "Google said that it is gone; a second answer is waited for",
  "token-loop": "its sync tokens keep dying, so it is read in full only rarely",
  "full-resync": "its sync token died, so it is read in full",
  interrupted: "a refresh runs, or its process ended in the middle of one",
};

/** Why it is polled as often as it is. */
const POLLED_IN_WORDS: Readonly<Record<Polled["kind"], string>> = {
  first: "it has never been published",
  live: "its channel is proven alive; a few notifications get lost all the same",
  unproven: "a channel is open, but nothing says that it tells",
  active: "polls alone find its changes, and it was read or changed lately",
  idle: "polls alone find its changes, and it was neither read nor changed lately",
  unwatchable: "Google does not notify of it, and it hardly ever changes",
  slowed: "it is set aside and tried rarely",
};

/** `ballast calendars why ID`: why and when a calendar is due, and what became of it so far. */
export function addCalendarsWhyCommand(calendars: Command, context: CommandContext): void {
  const why = calendars.command("why");
  why
    .description("Say why and when one calendar is due, and how its last refreshes went")
    .argument("<id>", "the calendar: cal_…", calendarIdArgument)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  ballast calendars why cal_0123456789abcdef
  ballast calendars why cal_0123456789abcdef --json | jq .refreshes`,
    )
    .action((id: CalendarId) =>
      runs<Options>(context, (options) => explain(id, options, context))(
        // The parent takes the options that it has too (--json).
        why.optsWithGlobals(),
      ),
    );
}

function explain(id: CalendarId, options: Options, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store, config) => {
    const calendar = await store.calendars.get(id);
    const past = await store.refreshHistory.of(id);
    const polled = await readPolled(id, config, store);
    if (calendar === undefined || past === undefined || polled === undefined) {
      throw unknownCalendar(id);
    }
    const findings = {
      at: context.clock.now(),
      calendar,
      account: await store.accounts.get(calendar.accountId),
      past,
      channels: await store.channels.listOfCalendar(id),
      polled,
      heldBy: await holdOf(calendar, { config, store, context }),
    };
    if (options.json) context.output.json(documentOf(findings));
    else describe(findings, context);
    return EXIT.ok;
  });
}

/** What is not known is said as null: a key that is missing reads as a release that does not have it. */
function documentOf(findings: Findings): Record<string, unknown> {
  const { at, calendar, account, past, channels, polled } = findings;
  return {
    at,
    id: calendar.id,
    state: calendar.state,
    stateReason: calendar.stateReason ?? null,
    due: {
      at: calendar.dueAt ?? null,
      class: calendar.dueClass,
      reason: calendar.dueReason,
      sentence: sentenceOf(findings),
      queuedUntil: calendar.queuedUntil ?? null,
      heldBy: findings.heldBy ?? null,
    },
    poll: pollDocumentOf(polled),
    generation: calendar.generation,
    currentAsOf: calendar.currentAsOf ?? null,
    marks: { requested: calendar.requested, served: calendar.served },
    hasUnfinishedRefresh: calendar.hasUnfinishedRefresh,
    leaseUntil: past.leaseUntil ?? null,
    consecutiveFailures: calendar.consecutiveFailures,
    lastFailureCode: past.lastFailureCode ?? null,
    account: { id: calendar.accountId, state: account?.state ?? null },
    pauses: pausesOf(findings),
    channels: channels.map((channel) => ({
      id: channel.id,
      state: channel.state,
      expiresAt: channel.expiresAt ?? null,
      createdAt: channel.createdAt,
      lastMessageAt: channel.lastMessageAt ?? null,
    })),
    refreshes: past.refreshes.map(({ code, ...one }) => Object.assign(one, { code: code ?? null })),
  };
}

function pollDocumentOf(polled: Polled): Record<string, unknown> {
  return {
    kind: polled.kind,
    everyMs: polled.everyMs ?? null,
    watchState: polled.watchState,
    changedAt: polled.changedAt ?? null,
    readAt: polled.readAt ?? null,
    notifiedAt: polled.notifiedAt ?? null,
    freshUntil: polled.freshUntil ?? null,
  };
}

function pausesOf({ calendar, account }: Findings): readonly Pause[] {
  if (account?.state === "paused") {
    return [{ of: "account", reason: account.stateReason ?? "no reason was given" }];
  }
  return calendar.state === "paused"
    ? [{ of: "calendar", reason: calendar.stateReason ?? "no reason was given" }]
    : [];
}

/** When it is due and why, as one would say it. */
function sentenceOf(findings: Findings): string {
  const { at, past } = findings;
  const obstacle = obstacleOf(findings);
  if (obstacle !== undefined) return obstacle;
  if (past.leaseUntil !== undefined && past.leaseUntil > at) {
    return `It is being refreshed; if that process died, it is due in ${formatAge(past.leaseUntil - at)}.`;
  }
  return dueSentence(findings);
}

/** What keeps it from being refreshed at all, whatever its due time says. */
function obstacleOf(findings: Findings): string | undefined {
  const { calendar, account } = findings;
  if (calendar.state === "lost") {
    return `Never: it is lost (${calendar.stateReason ?? "no reason was kept"}).`;
  }
  const held = pausesOf(findings)[0];
  if (held !== undefined) return `Not before its pause ends (${held.reason}).`;
  if (account === undefined || account.state === "connected") return undefined;
  return `Not before its account is connected again (${account.stateReason ?? account.state}).`;
}

/** Looked for only where something must be: it is due, and nobody has taken it. */
async function holdOf(
  calendar: CalendarRow,
  of: { readonly config: Config; readonly store: Store; readonly context: CommandContext },
): Promise<string | undefined> {
  const { config, store, context } = of;
  const now = context.clock.now();
  const isTaken = calendar.queuedUntil !== undefined && calendar.queuedUntil > now;
  if (isTaken || calendar.dueAt === undefined || calendar.dueAt > now) return undefined;
  return whatHolds(calendar, config.consumer, {
    store,
    clock: context.clock,
    readQuota: () => readQuota(config, context),
  });
}

function dueSentence({ at, calendar, heldBy }: Findings): string {
  if (calendar.dueAt === undefined) return "Never: nothing is planned for it.";
  const wait = calendar.dueAt - at;
  const when = wait > 0 ? `Due in ${formatAge(wait)}` : `Due for ${formatAge(-wait)}`;
  const isQueued = calendar.queuedUntil !== undefined && calendar.queuedUntil > at;
  const where = isQueued ? ", and it waits in the queue for a worker" : "";
  const held = heldBy === undefined ? "" : `; not taken while ${printable(heldBy)}`;
  return `${when} as ${calendar.dueClass}${where}: ${IN_WORDS[calendar.dueReason]}${held}.`;
}

function describe(findings: Findings, { output }: CommandContext): void {
  const { at, calendar, account, past, channels, polled } = findings;
  const ago = (moment: EpochMs | undefined): string =>
    moment === undefined ? "never" : `${formatAge(at - moment)} ago`;
  const because = calendar.stateReason === undefined ? "" : ` (${calendar.stateReason})`;
  const failure = past.lastFailureCode === undefined ? "" : `, the last ${past.lastFailureCode}`;
  const lines: readonly (readonly [string, string])[] = [
    ["calendar", `${calendar.id}  ${printable(calendar.googleId)}`],
    ["due", `${sentenceOf(findings)} [${calendar.dueReason}]`],
    ["polled", pollInWords(polled)],
    [
      "news",
      `changed ${ago(polled.changedAt)}, told by Google ${ago(polled.notifiedAt)}, read ${ago(polled.readAt)}`,
    ],
    ["state", `${calendar.state}${because}, known to be current ${ago(calendar.currentAsOf)}`],
    ["account", `${calendar.accountId}  ${account?.state ?? "unknown"}`],
    ["marks", `requested ${String(calendar.requested)}, served ${String(calendar.served)}`],
    ["generation", String(calendar.generation)],
    ["unfinished", calendar.hasUnfinishedRefresh ? "a listing goes on from its page" : "nothing"],
    ["failures", `${String(calendar.consecutiveFailures)} in a row${failure}`],
    ["pauses", pausesOf(findings).map(pauseInWords).join("; ") || "none"],
    ...channelLines(channels, at),
  ];
  for (const [name, text] of lines) output.data(`${name.padEnd(11)} ${text}`);
  if (past.refreshes.length === 0) {
    output.say("No refresh of it has ended yet.");
    return;
  }
  output.data(
    formatTable(
      ["REFRESHED", "KIND", "CLASS", "OUTCOME", "CHANGES", "REQUESTS"],
      past.refreshes.map((one) => rowOf(one, at)),
    ),
  );
}

function pollInWords({ kind, everyMs, freshUntil }: Polled): string {
  const every =
    everyMs === undefined || freshUntil === undefined
      ? ""
      : `every ${formatAge(everyMs)}, give or take a quarter: `;
  return `${every}${POLLED_IN_WORDS[kind]} [${kind}]`;
}

function pauseInWords({ of, reason }: Pause): string {
  return `${of} (${printable(reason)})`;
}

function rowOf(one: PastRefresh, at: EpochMs): readonly string[] {
  return [
    `${formatAge(at - one.at)} ago`,
    one.kind,
    one.class,
    one.code === undefined ? one.outcome : `${one.outcome} (${one.code})`,
    String(one.changes),
    String(one.requests),
  ];
}

function channelLines(
  channels: readonly ChannelRow[],
  at: EpochMs,
): readonly (readonly [string, string])[] {
  if (channels.length === 0) return [["channel", "none: it is polled"]];
  return channels.map((channel) => {
    const ends =
      channel.expiresAt === undefined ? "" : `, expires in ${formatAge(channel.expiresAt - at)}`;
    const told =
      channel.lastMessageAt === undefined
        ? ", has told nothing yet"
        : `, told something ${formatAge(at - channel.lastMessageAt)} ago`;
    return ["channel", `${channel.id}  ${channel.state}${ends}${told}`];
  });
}
