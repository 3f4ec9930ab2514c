import type { Command } from "commander";
import type { EventInstance, EventsAnswer, UnknownTime } from "../../core/calendar-reads.ts";
import type { EpochMs } from "../../core/clock.ts";
import type { Freshness } from "../../core/event-store.ts";
import type { GoogleEvent, GoogleEventTime } from "../../core/google-event.ts";
import type { CalendarId } from "../../core/ids.ts";
import { calendarIdArgument, duration, moment, wholeNumber } from "../arguments.ts";
import { usageError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { describeFreshness, UNKNOWN_WORDS } from "../describe-freshness.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { formatTable } from "../output.ts";
import { ask } from "../ask-reader.ts";
import { unknownCalendar } from "../unknown-calendar.ts";
import { withStore, type Store } from "../with-store.ts";

interface Options {
  readonly calendar: CalendarId;
  readonly from?: EpochMs;
  readonly to?: EpochMs;
  readonly raw?: true;
  readonly limit: number;
  readonly after?: string;
  readonly timeZone?: string;
  readonly maxAge?: number;
  readonly json?: true;
}

/** `ballast events`: what takes place in a range, or the stored events, after how fresh they are (I11). */
export function addEventsCommand(program: Command, context: CommandContext): void {
  program
    .command("events")
    .description(
      "Print what takes place in a range, or a calendar's stored events; freshness first",
    )
    .requiredOption("--calendar <id>", "Ballast's id of the calendar, cal_…", calendarIdArgument)
    .option("--from <moment>", "what takes place from here: series as their occurrences", moment)
    .option("--to <moment>", "and before here", moment)
    .option("--raw", "stored events that may touch the range: series and exceptions as they are")
    .option("--time-zone <zone>", "where all-day events begin, instead of the calendar's own zone")
    .option("--max-age <duration>", "refresh first when the copy is older, like 5m", duration)
    .option("--limit <n>", "at most so many, 1 to 2500", wholeNumber(1, 2_500), 250)
    .option("--after <cursor>", "go on after the page before")
    .option("--json", "one JSON document, each event as Google sent it")
    .addHelpText(
      "after",
      `
Without a range, or with --raw, series are printed as they are stored.
Exit code 3: nothing, or not everything, can be said about the calendar's events.

Examples:
  ballast events --calendar cal_0192… --from 2026-01-01 --to 2026-02-01
  ballast events --calendar cal_0192… --json | jq '.events[].summary'`,
    )
    .action(runs<Options>(context, (options) => printEvents(options, context)));
}

function printEvents(options: Options, context: CommandContext): Promise<ExitCode> {
  const { from, to, raw } = options;
  if (from !== undefined && to !== undefined && to <= from) {
    throw usageError("--to should be after --from.");
  }
  const isRaw = raw === true || (from === undefined && to === undefined);
  return withStore(context, (store) => {
    if (isRaw) return printStored(options, { store, context });
    if (from === undefined || to === undefined) {
      throw usageError("Give both --from and --to, or --raw for the stored events.");
    }
    return printInstances({ ...options, from, to }, { store, context });
  });
}

interface Deps {
  readonly store: Store;
  readonly context: CommandContext;
}

async function printInstances(
  options: Options & { readonly from: EpochMs; readonly to: EpochMs },
  { store, context }: Deps,
): Promise<ExitCode> {
  const { calendar, from, to, limit, after, timeZone, maxAge } = options;
  const answer = await ask(store, context, (reader, signal) =>
    reader.readEvents(
      { calendarId: calendar, from, to, limit, after, timeZone, maxAgeMs: maxAge },
      signal,
    ),
  );
  if (answer.kind === "unknown-calendar") throw unknownCalendar(calendar);
  const { output } = context;
  const { freshness, instances, unknown, next } = answer;
  if (options.json) {
    const events = instances.map((instance) => instance.event);
    output.json({ calendarId: calendar, freshness, events, unknown, next: next ?? null });
    for (const line of warningsOf(answer)) output.say(line);
  } else {
    output.data(paintFreshness(freshness, context));
    for (const time of unknown) output.data(output.paint("yellow", describeUnknown(time)));
    if (freshness.generation > 0) output.data(formatInstances(instances));
    if (next !== undefined) output.say(`More: the same command with --after ${next}`);
  }
  return unknown.length === 0 ? EXIT.ok : EXIT.partial;
}

function warningsOf(answer: Extract<EventsAnswer, { kind: "events" }>): readonly string[] {
  const { freshness, unknown } = answer;
  const first = freshness.state === "fresh" ? [] : [describeFreshness(freshness)];
  return [...first, ...unknown.map((time) => describeUnknown(time))];
}

function describeUnknown({ reason, eventIds }: UnknownTime): string {
  const which = eventIds.length === 0 ? "" : ` (${eventIds.join(", ")})`;
  return `Not everything is known: ${UNKNOWN_WORDS[reason]}${which}.`;
}

function paintFreshness(freshness: Freshness, { output }: CommandContext): string {
  return output.paint(
    freshness.state === "fresh" ? "green" : "yellow",
    describeFreshness(freshness),
  );
}

async function printStored(options: Options, { store, context }: Deps): Promise<ExitCode> {
  const { calendar, from, to, after, limit } = options;
  const query = { from, to, after, limit };
  const read = await store.events.readEvents(calendar, query, context.clock.now());
  if (read.kind === "unknown-calendar") throw unknownCalendar(calendar);
  const { freshness, events, next } = read;
  const exitCode = freshness.state === "never" ? EXIT.partial : EXIT.ok;
  const { output } = context;
  if (options.json) {
    output.json({ calendarId: calendar, freshness, events, next: next ?? null });
    if (freshness.state !== "fresh") output.say(describeFreshness(freshness));
    return exitCode;
  }
  output.data(paintFreshness(freshness, context));
  if (freshness.generation > 0) output.data(formatStored(events));
  if (next !== undefined) {
    output.say(`More: ballast events --calendar ${calendar} --after ${next}`);
  }
  return exitCode;
}

function formatInstances(instances: readonly EventInstance[]): string {
  if (instances.length === 0) return "No events.";
  return formatTable(
    ["START", "END", "TITLE", "ID"],
    instances.map(({ event }) => [
      formatTime(event.start),
      formatTime(event.end),
      titleOf(event),
      event.id,
    ]),
  );
}

function formatStored(events: readonly GoogleEvent[]): string {
  if (events.length === 0) return "No events.";
  return formatTable(
    ["START", "END", "KIND", "STATUS", "TITLE", "ID"],
    events.map((event) => [
      formatTime(event.start ?? event.originalStartTime),
      formatTime(event.end),
      kindOf(event),
      event.status ?? "",
      titleOf(event),
      event.id,
    ]),
  );
}

function titleOf(event: GoogleEvent): string {
  return typeof event["summary"] === "string" ? event["summary"].slice(0, 60) : "";
}

function formatTime(time: GoogleEventTime | null | undefined): string {
  return time?.dateTime ?? time?.date ?? "";
}

function kindOf(event: GoogleEvent): string {
  if (event.recurringEventId != null) return "exception";
  return event.recurrence == null ? "single" : "series";
}
