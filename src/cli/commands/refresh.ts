import type { Command } from "commander";
import type { CalendarRow } from "../../core/calendar-store.ts";
import type { CalendarId } from "../../core/ids.ts";
import { calendarIdArgument, nameArgument, wholeNumber } from "../arguments.ts";
import { CliError, usageError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { unknownCalendar } from "../unknown-calendar.ts";
import { withStore, type Store } from "../with-store.ts";
import { findAccount } from "./calendars.ts";

const POLL_MS = 250;
const PAGE = 500;

interface Options {
  readonly calendar?: readonly CalendarId[];
  readonly tenant?: string;
  readonly account?: string;
  readonly all?: true;
  readonly full?: true;
  readonly wait?: true;
  readonly timeout: number;
  readonly json?: true;
}

/** `ballast refresh`: mark calendars as wanted now; a running worker sees the marks within a second. */
export function addRefreshCommand(program: Command, context: CommandContext): void {
  program
    .command("refresh")
    .description("Ask for calendars to be brought up to date now")
    .option("--calendar <id...>", "these calendars, cal_…", collectCalendars)
    .option("--account <account>", "all of an account's: acc_…, or its name with --tenant")
    .option("--tenant <tenant>", "the account's tenant", nameArgument)
    .option("--all", "every calendar (as background work, so that nobody who waits is held up)")
    .option("--full", "read everything anew instead of what has changed")
    .option("--wait", "come back when they are up to date")
    .option("--timeout <seconds>", "wait at most so long", wholeNumber(1, 86_400), 120)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
With --wait it ends as soon as a calendar is up to date, or was lost, slowed or paused instead, with the reason.
Exit codes: 0 all were asked for (with --wait: are up to date), 1 none, 3 some.

Examples:
  ballast refresh --calendar cal_0192… --wait
  ballast refresh --tenant acme --account ada@example.com --full`,
    )
    .action(runs<Options>(context, (options) => refresh(options, context)));
}

function collectCalendars(text: string, before: readonly CalendarId[] = []): CalendarId[] {
  return [...before, calendarIdArgument(text)];
}

interface Asked {
  readonly id: CalendarId;
  /** `served` has to reach this. Undefined: it was not marked, since it is lost, paused or disconnected. */
  readonly mark: number | undefined;
  /** It was slowed, with so many failures, before it was asked for; one more is news. */
  readonly failuresBefore: number | undefined;
}

/** It will not be up to date soon: no use to wait. */
interface Stopped {
  readonly calendarId: CalendarId;
  readonly state: "lost" | "slowed" | "paused" | "removed";
  readonly reason: string | undefined;
}

interface Waited {
  readonly unserved: readonly CalendarId[];
  readonly stopped: readonly Stopped[];
}

function refresh(options: Options, context: CommandContext): Promise<ExitCode> {
  const ways = [options.calendar, options.account, options.all].filter((way) => way !== undefined);
  if (ways.length !== 1) {
    throw usageError("Say which: --calendar ID, --account A --tenant T, or --all.");
  }
  return withStore(context, async (store) => {
    const targets = await findTargets(options, store);
    const asked: Asked[] = [];
    for (const id of targets) asked.push(await ask(id, options, { store, context }));
    const marked = asked.filter(({ mark }) => mark !== undefined);
    const waited = options.wait
      ? await waitUntilServed(marked, options.timeout, { store, context })
      : { unserved: [], stopped: [] };
    return report({ options, asked, marked, waited }, context);
  });
}

async function findTargets(options: Options, store: Store): Promise<readonly CalendarId[]> {
  if (options.calendar !== undefined) return options.calendar;
  const account = await findAccount(options, store);
  const ids: CalendarId[] = [];
  let page: readonly CalendarRow[];
  do {
    page = await store.calendars.list({ accountId: account?.id, after: ids.at(-1), limit: PAGE });
    ids.push(...page.map(({ id }) => id));
  } while (page.length === PAGE);
  return ids;
}

interface Deps {
  readonly store: Store;
  readonly context: CommandContext;
}

async function ask(id: CalendarId, options: Options, deps: Deps): Promise<Asked> {
  deps.context.interrupted.throwIfAborted();
  const { store, context } = deps;
  const before = options.wait ? await store.calendars.get(id) : undefined;
  const [outcome] = await store.calendars.requestMany([
    {
      calendarId: id,
      class: options.all ? "backfill" : "interactive",
      dueAt: context.clock.now(),
      mode: options.full ? "full" : "incremental",
    },
  ]);
  if (outcome === undefined || outcome.kind === "unknown-calendar") throw unknownCalendar(id);
  const mark = outcome.kind === "marked" ? outcome.mark : undefined;
  // A person's wish lifts the state; what is slowed after it has failed since.
  const wasSlowed = options.all && before?.state === "slowed";
  return { id, mark, failuresBefore: wasSlowed ? before.consecutiveFailures : undefined };
}

/** The calendars not served when the time was up, and those for which waiting was of no use. */
async function waitUntilServed(
  marked: readonly Asked[],
  timeoutSeconds: number,
  { store, context }: Deps,
): Promise<Waited> {
  const { clock, output, interrupted } = context;
  const endsAtMs = clock.monotonicMs() + timeoutSeconds * 1_000;
  const stopped: Stopped[] = [];
  let waiting = [...marked];
  for (;;) {
    const still: Asked[] = [];
    for (const one of waiting) {
      const row = await store.calendars.get(one.id);
      const end = reasonToStop(one, row);
      if (end !== undefined) stopped.push(end);
      else if (row !== undefined && row.served < (one.mark ?? 0)) still.push(one);
    }
    waiting = still;
    if (waiting.length === 0 || clock.monotonicMs() > endsAtMs) {
      return { unserved: waiting.map(({ id }) => id), stopped };
    }
    const done = marked.length - waiting.length;
    output.progress(`${String(done)} of ${String(marked.length)} done …`);
    await clock.sleep(POLL_MS, interrupted);
  }
}

function reasonToStop(one: Asked, row: CalendarRow | undefined): Stopped | undefined {
  if (row === undefined) return { calendarId: one.id, state: "removed", reason: undefined };
  const { state, stateReason: reason } = row;
  if (row.served >= (one.mark ?? 0)) return undefined;
  if (state === "lost" || state === "paused") return { calendarId: one.id, state, reason };
  const isNews = one.failuresBefore === undefined || row.consecutiveFailures > one.failuresBefore;
  return state === "slowed" && isNews ? { calendarId: one.id, state, reason } : undefined;
}

function report(
  result: {
    readonly options: Options;
    readonly asked: readonly Asked[];
    readonly marked: readonly Asked[];
    readonly waited: Waited;
  },
  { output }: CommandContext,
): ExitCode {
  const { options, asked, marked, waited } = result;
  const { unserved, stopped } = waited;
  const refused = asked.filter(({ mark }) => mark === undefined).map(({ id }) => id);
  const doneCount = marked.length - unserved.length - stopped.length;
  if (options.json) {
    const served = options.wait ? doneCount : null;
    output.json({ requested: marked.length, served, unserved, stopped, notRefreshable: refused });
  } else {
    for (const id of refused) {
      output.say(`${id} was not asked for: it is lost or paused, or its account must reconnect.`);
    }
    for (const { calendarId, state, reason } of stopped) {
      output.say(`${calendarId} is ${state}${reason === undefined ? "" : ` (${reason})`}.`);
    }
    const done = options.wait ? "up to date" : "asked for";
    output.data(`${String(doneCount)} of ${String(asked.length)} ${done}.`);
  }
  const missed = refused.length + unserved.length + stopped.length;
  if (missed === 0) return EXIT.ok;
  if (unserved.length > 0 && !options.json) {
    output.say(
      `${String(unserved.length)} not up to date after ${String(options.timeout)} s. Does a worker run? next: ballast status`,
    );
  }
  if (missed < asked.length) return EXIT.partial;
  if (options.json) return EXIT.failure;
  throw new CliError("None of them is up to date.", {
    exitCode: EXIT.failure,
    code: "BALLAST_NOT_REFRESHED",
    next: "ballast calendars",
  });
}
