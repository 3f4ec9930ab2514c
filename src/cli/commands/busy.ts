import { Option, type Command } from "commander";
import type { BusyAnswer, TimeRange } from "../../core/calendar-reads.ts";
import type { EpochMs } from "../../core/clock.ts";
import { tenantId, type CalendarId } from "../../core/ids.ts";
import { calendarIdArgument, duration, moment, nameArgument } from "../arguments.ts";
import { ask } from "../ask-reader.ts";
import { CliError, usageError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { describeFreshness, UNKNOWN_WORDS } from "../describe-freshness.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { formatTable } from "../output.ts";
import { withStore, type Store } from "../with-store.ts";
import { findAccount } from "./calendars.ts";

/** One more than a question may name, so that too many are noticed. */
const MOST_LISTED = 501;
const SHOWN = 20;

interface Options {
  readonly calendar?: readonly CalendarId[];
  readonly account?: string;
  readonly tenant?: string;
  readonly from: EpochMs;
  readonly to: EpochMs;
  readonly tentative: "busy" | "free";
  readonly timeZone?: string;
  readonly maxAge?: number;
  readonly json?: true;
}

/** `ballast busy`: busy and unknown times of one or many calendars; what is neither is free. */
export function addBusyCommand(program: Command, context: CommandContext): void {
  program
    .command("busy")
    .description("Print when calendars are busy, and when nobody knows")
    .option("--calendar <id...>", "these calendars, cal_…", collectCalendars)
    .option("--account <account>", "all of an account's: acc_…, or its name with --tenant")
    .option("--tenant <tenant>", "all of a tenant's, or the account's tenant", nameArgument)
    .requiredOption("--from <moment>", "from here", moment)
    .requiredOption("--to <moment>", "to before here, at most 400 days", moment)
    .addOption(
      new Option("--tentative <what>", "what tentative and unanswered events are")
        .choices(["busy", "free"])
        .default("busy"),
    )
    .option("--time-zone <zone>", "where all-day events begin, instead of the calendar's own zone")
    .option("--max-age <duration>", "refresh first what is older, like 5m", duration)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
What is listed neither as busy nor as unknown is free in all of them.
Exit code 3: some of it is unknown.

Examples:
  ballast busy --calendar cal_0192… --from 2026-01-05 --to 2026-01-10
  ballast busy --tenant acme --from 2026-01-05 --to 2026-01-10 --max-age 5m --json`,
    )
    .action(runs<Options>(context, (options) => printBusy(options, context)));
}

function collectCalendars(text: string, before: readonly CalendarId[] = []): CalendarId[] {
  return [...before, calendarIdArgument(text)];
}

function printBusy(options: Options, context: CommandContext): Promise<ExitCode> {
  const { from, to, tentative, timeZone, maxAge } = options;
  return withStore(context, async (store) => {
    const calendarIds = await findTargets(options, store);
    const answer = await ask(store, context, (reader, signal) =>
      reader.readBusy({ calendarIds, from, to, tentative, timeZone, maxAgeMs: maxAge }, signal),
    );
    if (options.json) {
      context.output.json(toDocument(answer));
      for (const line of describeCalendars(answer)) context.output.say(line);
    } else {
      print(answer, context);
    }
    return answer.unknown.length === 0 ? EXIT.ok : EXIT.partial;
  });
}

async function findTargets(options: Options, store: Store): Promise<readonly CalendarId[]> {
  const { calendar, account, tenant } = options;
  if (calendar !== undefined) {
    if (account === undefined && tenant === undefined) return calendar;
    throw usageError("Give --calendar alone, or --account or --tenant instead.");
  }
  if (account === undefined && tenant === undefined) {
    throw usageError("Say which: --calendar ID, --account A --tenant T, or --tenant T.");
  }
  const found = await findAccount(options, store);
  const rows = await store.calendars.list({
    ...(found === undefined ? { tenantId: tenantId(tenant ?? "") } : { accountId: found.id }),
    limit: MOST_LISTED,
  });
  if (rows.length > 0) return rows.map(({ id }) => id);
  throw new CliError("No calendars are known of that account or tenant.", {
    exitCode: EXIT.failure,
    code: "BALLAST_UNKNOWN_CALENDAR",
    next: "ballast calendars",
  });
}

function print(answer: BusyAnswer, { output }: CommandContext): void {
  for (const line of describeCalendars(answer)) output.data(output.paint("yellow", line));
  const all = answer.calendars.length;
  const known = answer.calendars.filter((one) => one.unknown.length === 0).length;
  output.data(`${String(known)} of ${String(all)} calendars are known for the whole range.`);
  const rows = [
    ...answer.busy.map((time) => ({ ...time, what: "busy" })),
    ...answer.unknown.map((time) => ({ ...time, what: `unknown: ${UNKNOWN_WORDS[time.reason]}` })),
  ].toSorted((left, right) => left.from - right.from);
  if (rows.length === 0) {
    output.data("Free all the time.");
    return;
  }
  output.data(
    formatTable(
      ["FROM", "TO", "WHAT"],
      rows.map(({ from, to, what }) => [iso(from), iso(to), what]),
    ),
  );
  output.data("Free at all other times.");
}

/** I11: each calendar that is not known to be current is named, the first few of them. */
function describeCalendars({ calendars }: BusyAnswer): readonly string[] {
  const odd = calendars.filter(
    ({ freshness, unknown }) =>
      unknown.length > 0 || freshness?.state !== "fresh" || freshness.pending,
  );
  const lines = odd.slice(0, SHOWN).map(({ calendarId, freshness, unknown }) => {
    const copy =
      freshness === undefined ? "There is no such calendar." : describeFreshness(freshness);
    const events = unknown.flatMap(({ eventIds }) => eventIds).slice(0, 3);
    return `${calendarId}: ${copy}${events.length === 0 ? "" : ` Not understood: ${events.join(", ")}.`}`;
  });
  return odd.length > SHOWN ? [...lines, `… and ${String(odd.length - SHOWN)} more.`] : lines;
}

function toDocument(answer: BusyAnswer): Readonly<Record<string, unknown>> {
  const lists = ({ busy, unknown }: Pick<BusyAnswer, "busy" | "unknown">): object => ({
    busy: busy.map((time) => times(time)),
    unknown: unknown.map(({ reason, eventIds, ...time }) => ({ ...times(time), reason, eventIds })),
  });
  return {
    ...times(answer),
    ...lists(answer),
    calendars: answer.calendars.map((one) => ({
      calendarId: one.calendarId,
      freshness: one.freshness ?? null,
      ...lists(one),
    })),
  };
}

function times({ from, to }: TimeRange): { readonly from: string; readonly to: string } {
  return { from: iso(from), to: iso(to) };
}

function iso(ms: EpochMs): string {
  return new Date(ms).toISOString();
}
