import type { CalendarCounts } from "../core/calendar-store.ts";
import type { PushHealth } from "../core/channel-store.ts";
import type { EpochMs } from "../core/clock.ts";
import type { RequestClass } from "../core/request.ts";

interface Window {
  readonly limit: number;
  readonly used: number;
}

/** What the page and `/status.json` show: figures of the whole service, never a tenant's name. Undefined: not known now. */
export interface StatusView {
  readonly schemaVersion: number;
  readonly at: EpochMs;
  readonly verdict: "ok" | "degraded" | "stopped" | "unknown";
  /** The verdict in one sentence, for a person. */
  readonly sentence: string;
  readonly calendars: CalendarCounts | undefined;
  readonly quota:
    { readonly minute: Window; readonly day: Window; readonly retryTokens: number } | undefined;
  /** Retries ÷ requests. */
  readonly retryShare: number | undefined;
  readonly breakers: readonly { readonly upstream: string; readonly openUntil: EpochMs }[];
  readonly backlog: Readonly<Record<RequestClass, number>> | undefined;
  readonly push: PushHealth | undefined;
  readonly deadLetters: number | undefined;
}
