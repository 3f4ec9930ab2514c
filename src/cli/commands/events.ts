import type { Command } from "commander";
import type { EpochMs } from "../../core/clock.ts";
import type { Freshness } from "../../core/event-store.ts";
import type { GoogleEvent, GoogleEventTime } from "../../core/google-event.ts";
import type { CalendarId } from "../../core/ids.ts";
import { calendarIdArgument, moment, wholeNumber } from "../arguments.ts";
import { usageError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { formatAge, formatTable } from "../output.ts";
import { unknownCalendar } from "../unknown-calendar.ts";
import { withStore } from "../with-store.ts";

interface Options {
  readonly calendar: CalendarId;
  readonly from?: EpochMs;
  readonly to?: EpochMs;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}

/** `ballast events`: the stored events of one calendar, after how fresh they are (I11). */
export function addEventsCommand(program: Command, context: CommandContext): void {
  program
    .command("events")
    .description("Print a calendar's stored events (raw series and exceptions), freshness first")
    .requiredOption("--calendar <id>", "Ballast's id of the calendar, cal_…", calendarIdArgument)
    .option("--from <moment>", "only events that may touch the time from here", moment)
    .option("--to <moment>", "and before here", moment)
    .option("--limit <n>", "at most so many, 1 to 2500", wholeNumber(1, 2_500), 250)
    .option("--after <event>", "go on after this event id")
    .option("--json", "one JSON document, each event as Google sent it")
    .addHelpText(
      "after",
      `
Exit code 3: the calendar was never synced, so nothing can be said about its events.

Examples:
  ballast events --calendar cal_0192… --from 2026-01-01 --to 2026-02-01
  ballast events --calendar cal_0192… --json | jq '.events[].summary'`,
    )
    .action(runs<Options>(context, (options) => printEvents(options, context)));
}

function printEvents(options: Options, context: CommandContext): Promise<ExitCode> {
  const { calendar, from, to, after, limit } = options;
  if (from !== undefined && to !== undefined && to <= from) {
    throw usageError("--to should be after --from.");
  }
  return withStore(context, async (store) => {
    const read = await store.events.readEvents(
      calendar,
      { from, to, after, limit },
      context.clock.now(),
    );
    if (read.kind === "unknown-calendar") throw unknownCalendar(calendar);
    const { freshness, events, next } = read;
    const exitCode = freshness.state === "never" ? EXIT.partial : EXIT.ok;
    const { output } = context;
    if (options.json) {
      output.json({ calendarId: calendar, freshness, events, next: next ?? null });
      if (freshness.state !== "fresh") output.say(describeFreshness(freshness));
      return exitCode;
    }
    const color = freshness.state === "fresh" ? "green" : "yellow";
    output.data(output.paint(color, describeFreshness(freshness)));
    if (freshness.generation > 0) output.data(formatEvents(events));
    if (next !== undefined) {
      output.say(`More: ballast events --calendar ${calendar} --after ${next}`);
    }
    return exitCode;
  });
}

/** I11: what is not known never reads as "no events". */
function describeFreshness(freshness: Freshness): string {
  const { state, reason, ageMs, generation } = freshness;
  const because = reason === undefined ? "" : ` (${reason})`;
  if (generation === 0) {
    return `Never synced${because}: nothing can be said about this calendar's events.`;
  }
  const copy = `generation ${String(generation)}, known to be current ${formatAge(ageMs)} ago`;
  if (state === "fresh") return `Fresh: ${copy}.`;
  const word = { stale: "Stale", slowed: "Slowed", lost: "Lost", paused: "Paused" };
  const label = state === "never" ? "Never synced" : word[state];
  return `${label}${because}: what follows may be out of date; ${copy}.`;
}

function formatEvents(events: readonly GoogleEvent[]): string {
  if (events.length === 0) return "No events.";
  return formatTable(
    ["START", "END", "KIND", "STATUS", "TITLE", "ID"],
    events.map((event) => [
      formatTime(event.start ?? event.originalStartTime),
      formatTime(event.end),
      kindOf(event),
      event.status ?? "",
      typeof event["summary"] === "string" ? event["summary"].slice(0, 60) : "",
      event.id,
    ]),
  );
}

function formatTime(time: GoogleEventTime | null | undefined): string {
  return time?.dateTime ?? time?.date ?? "";
}

function kindOf(event: GoogleEvent): string {
  if (event.recurringEventId != null) return "exception";
  return event.recurrence == null ? "single" : "series";
}
