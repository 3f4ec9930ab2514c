import type { ColumnType } from "kysely";

/** Written with a default when a row is made, then read and updated. */
type Defaulted<T> = ColumnType<T, T | undefined, T>;

/** What is being removed, until it is gone. */
export interface RemovalsTable {
  id: string;
  kind: "tenant" | "account" | "calendar";
  tenant_id: string;
  account_id: string | null;
  calendar_id: string | null;
  is_revoking: number;
  reason: string | null;
  asked_by: string;
  asked_at: number;
  stage: "marking" | "releasing" | "erasing" | "settling";
  due_at: number;
  queued_until: number | null;
  lease_until: number | null;
  fence: Defaulted<number>;
  earlier_attempt: Defaulted<"none" | "reached-google">;
  channels_stopped: Defaulted<number>;
  channels_left: Defaulted<number>;
  tokens_revoked: Defaulted<number>;
  tokens_left: Defaulted<number>;
  erased_rows: Defaulted<number>;
}

/** Calendars that were removed one by one, whose account stays: its list must not bring them back. */
export interface ExcludedCalendarsTable {
  account_id: string;
  google_hash: string;
  excluded_at: number;
}
