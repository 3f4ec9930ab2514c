import { sql, type RawBuilder } from "kysely";
import type { Dialect } from "../database.ts";

/** What is being removed, and what was removed of who stays. */
export function leavingTables(dialect: Dialect): RawBuilder<unknown>[] {
  // As in the first step: compared bytewise on both databases.
  const key = dialect.name === "postgres" ? sql`text collate "C"` : sql`text`;
  return [
    sql`create table removals (
      id ${key} primary key,
      kind text not null check (kind in ('tenant', 'account', 'calendar')),
      tenant_id ${key} not null,
      account_id ${key},
      calendar_id ${key},
      is_revoking bigint not null,
      reason text,
      asked_by text not null,
      asked_at bigint not null,
      stage text not null check (stage in ('marking', 'releasing', 'erasing', 'settling')),
      due_at bigint not null,
      queued_until bigint,
      lease_until bigint,
      fence bigint not null default 0,
      earlier_attempt text not null default 'none',
      channels_stopped bigint not null default 0,
      channels_left bigint not null default 0,
      tokens_revoked bigint not null default 0,
      tokens_left bigint not null default 0,
      erased_rows bigint not null default 0
    )`,
    sql`create index removals_of_tenant on removals (tenant_id)`,
    // By a hash: an id is an address.
    sql`create table excluded_calendars (
      account_id ${key} not null references accounts (id),
      google_hash ${key} not null,
      excluded_at bigint not null,
      primary key (account_id, google_hash)
    )`,
  ];
}
