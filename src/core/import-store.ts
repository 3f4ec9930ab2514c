import type { EpochMs } from "./clock.ts";
import type {
  AccountName,
  CalendarId,
  GoogleCalendarId,
  ProjectId,
  QuotaUser,
  TenantId,
} from "./ids.ts";

/** An account that another system has synced so far. */
export interface ImportEntry {
  readonly tenantId: TenantId;
  readonly name: AccountName;
  readonly refreshToken: string;
  /** Empty: not known. */
  readonly scopes: readonly string[];
  readonly quotaUser: QuotaUser | undefined;
  /** Known at once, and first synced without waiting for the account's list. */
  readonly calendars: readonly GoogleCalendarId[];
  /** The other system's channels, to be stopped. */
  readonly channels: readonly {
    readonly id: string;
    readonly resourceId: string;
    readonly googleId: GoogleCalendarId;
  }[];
}

/**
 * `unchanged`: everything of the entry is stored already; `changed`: an account that is known gets other credentials
 * or calendars; `promoted`: it was mirrored in shadow, and is served from now on.
 */
export type ImportVerdict =
  | { readonly kind: "new" | "unchanged" | "changed" | "promoted" }
  | { readonly kind: "refused"; readonly problem: string };

/** How an import stores its accounts. */
export interface ImportOptions {
  readonly projectId: ProjectId;
  /** Mirror them and serve nobody, to be compared with Google. */
  readonly isShadow: boolean;
  readonly now: EpochMs;
}

/** Accounts taken over from another system, some hundred at a time. */
export interface ImportStore {
  /** What storing them would do; at most 500. */
  judge(
    entries: readonly ImportEntry[],
    options: Pick<ImportOptions, "isShadow">,
  ): Promise<readonly ImportVerdict[]>;
  /** One transaction; what is unchanged or refused is not touched. First syncs are in class `backfill`. */
  store(entries: readonly ImportEntry[], options: ImportOptions): Promise<readonly ImportVerdict[]>;
  /** Some calendars in shadow that have a copy, at random. */
  sampleShadow(limit: number): Promise<readonly CalendarId[]>;
  /** Accounts in shadow, and how many of their calendars have a copy. */
  shadowCounts(): Promise<{
    readonly accounts: number;
    readonly calendars: number;
    readonly published: number;
  }>;
}
