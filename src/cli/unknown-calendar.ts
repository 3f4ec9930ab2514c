import type { CalendarId } from "../core/ids.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";

/** The id has the right form and no row. */
export function unknownCalendar(id: CalendarId): CliError {
  return new CliError(`There is no calendar ${id}.`, {
    exitCode: EXIT.failure,
    code: "BALLAST_UNKNOWN_CALENDAR",
    next: "ballast calendars    (lists them)",
  });
}
