import type { DiscoverCalendars } from "../src/sync/discover-calendars.ts";
import type { RenewChannel } from "../src/sync/renew-channel.ts";
import type { RefreshCalendar } from "../src/sync/refresh-calendar.ts";

/** Everything a job may touch. Built once, in src/app.ts. */
export interface JobContext {
  readonly refreshCalendar: RefreshCalendar;
  readonly discoverCalendars: DiscoverCalendars;
  readonly renewChannel: RenewChannel;
}
