import type { EpochMs } from "./clock.ts";

/** One line of the append-only record of what people and the service itself decided. */
export interface OperatorEntry {
  readonly at: EpochMs;
  /** OS user, token name, or `ballast` for the service itself. */
  readonly actor: string;
  /** What was done: `account.connected`, `account.needs-reconnect`, `settings.changed`, `job.set-aside`, … */
  readonly action: string;
  /** On what: an id or a setting's name. */
  readonly subject: string;
  readonly reason: string | undefined;
  /** Further facts; never a secret. */
  readonly details: Readonly<Record<string, string | number | boolean | null>>;
}

export interface OperatorLog {
  append(entry: OperatorEntry): Promise<void>;
  /** Newest first. */
  list(page: {
    readonly before?: number | undefined;
    readonly limit: number;
  }): Promise<readonly (OperatorEntry & { readonly sequence: number })[]>;
}
