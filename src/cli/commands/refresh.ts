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
Exit code 3: some were asked for or served, others not.

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
    const waiting = options.wait
      ? await waitUntilServed(marked, options.timeout, { store, context })
      : [];
    return report({ options, asked, marked, waiting }, context);
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
  const outcome = await deps.store.calendars.request(id, {
    class: options.all ? "backfill" : "interactive",
    dueAt: deps.context.clock.now(),
    mode: options.full ? "full" : "incremental",
  });
  if (outcome === "unknown-calendar") throw unknownCalendar(id);
  if (outcome === "not-refreshable") return { id, mark: undefined };
  const row = await deps.store.calendars.get(id);
  return { id, mark: row?.requested };
}

/** The calendars not served when the time was up. */
async function waitUntilServed(
  marked: readonly Asked[],
  timeoutSeconds: number,
  { store, context }: Deps,
): Promise<readonly Asked[]> {
  const { clock, output, interrupted } = context;
  const endsAtMs = clock.monotonicMs() + timeoutSeconds * 1_000;
  let waiting = [...marked];
  for (;;) {
    const still: Asked[] = [];
    for (const one of waiting) {
      const row = await store.calendars.get(one.id);
      if (row !== undefined && row.served < (one.mark ?? 0)) still.push(one);
    }
    waiting = still;
    if (waiting.length === 0 || clock.monotonicMs() > endsAtMs) return waiting;
    const done = marked.length - waiting.length;
    output.progress(`${String(done)} of ${String(marked.length)} up to date …`);
    await clock.sleep(POLL_MS, interrupted);
  }
}

function report(
  result: {
    readonly options: Options;
    readonly asked: readonly Asked[];
    readonly marked: readonly Asked[];
    readonly waiting: readonly Asked[];
  },
  { output }: CommandContext,
): ExitCode {
  const { options, asked, marked, waiting } = result;
  const refused = asked.filter(({ mark }) => mark === undefined).map(({ id }) => id);
  const unserved = waiting.map(({ id }) => id);
  if (options.json) {
    const served = options.wait ? marked.length - waiting.length : null;
    output.json({ requested: marked.length, served, unserved, notRefreshable: refused });
  } else {
    for (const id of refused) {
      output.say(`${id} was not asked for: it is lost or paused, or its account must reconnect.`);
    }
    const done = options.wait ? "up to date" : "asked for";
    output.data(`${String(marked.length - waiting.length)} of ${String(asked.length)} ${done}.`);
  }
  const missed = refused.length + unserved.length;
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
