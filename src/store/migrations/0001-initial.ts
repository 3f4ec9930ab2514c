import { sql, type RawBuilder } from "kysely";
import type { Dialect } from "../database.ts";
import type { Migration } from "../migration.ts";
import { claimTables } from "./claim-tables.ts";
import { feedTables } from "./feed-tables.ts";
import { leavingTables } from "./leaving-tables.ts";

/** The first schema; once it is released, whatever is added comes as a step of its own. */
export const initial: Migration = {
  version: 1,
  name: "initial",
  description: "Create the tables of projects, accounts, calendars, events, settings and records.",
  plan: { table: undefined, locks: "none: the tables are new", millisecondsPerRow: 0 },
  statements: (dialect) => [
    ...people(dialect),
    calendars(dialect),
    ...calendarIndexes(),
    ...claimTables(dialect),
    ...events(dialect),
    ...feedTables(dialect),
    refreshHistory(),
    ...records(dialect),
    ...leavingTables(dialect),
    ...usage(dialect),
  ],
};

// Keys are compared bytewise on both databases, so that keyset pages agree with the index.
function keyText(dialect: Dialect): RawBuilder<unknown> {
  return dialect.name === "postgres" ? sql`text collate "C"` : sql`text`;
}

function people(dialect: Dialect): RawBuilder<unknown>[] {
  const key = keyText(dialect);
  return [
    sql`create table projects (id ${key} primary key, created_at bigint not null)`,
    sql`create table tenants (
      id ${key} primary key,
      created_at bigint not null,
      changes_forgotten bigint not null default 0
    )`,
    sql`create table accounts (
      id ${key} primary key,
      project_id ${key} not null references projects (id),
      tenant_id ${key} not null references tenants (id),
      name ${key} not null,
      quota_user text not null,
      quota_user_from text not null default 'name',
      primary_hash text,
      connection text not null check (connection in ('connected', 'needs-reconnect', 'removed')),
      connection_reason text,
      connection_since bigint not null default 0,
      paused_reason text,
      paused_since bigint,
      scopes text not null,
      connected_at bigint not null,
      grant_kind text not null default 'refresh-token',
      grant_sealed text,
      grant_key text,
      grant_failed_at bigint,
      list_sync_token text,
      list_fingerprint text,
      discovered_at bigint,
      discovery_due_at bigint,
      discovery_reason text not null,
      discovery_queued_until bigint,
      discovery_lease_until bigint,
      discovery_fence bigint not null default 0,
      discovery_requested bigint not null default 0,
      discovery_served bigint not null default 0,
      discovery_begun_mark bigint not null default 0,
      discovery_earlier_attempt text not null default 'none',
      discovery_failures bigint not null default 0,
      discovery_failure_code text,
      first_class bigint not null default 2,
      is_shadow bigint not null default 0,
      unique (tenant_id, name)
    )`,
    sql`create index accounts_due on accounts (discovery_due_at)
      where connection = 'connected' and paused_reason is null and discovery_due_at is not null`,
    sql`create index accounts_listed on accounts (project_id, id)
      where connection = 'connected' and paused_reason is null`,
    sql`create index accounts_of_google_user on accounts (project_id, primary_hash)
      where primary_hash is not null`,
    sql`create index accounts_by_key on accounts (grant_key, id) where grant_key is not null`,
    sql`create index accounts_refused on accounts (project_id, grant_failed_at)
      where grant_failed_at is not null`,
  ];
}

function calendars(dialect: Dialect): RawBuilder<unknown> {
  const key = keyText(dialect);
  return sql`create table calendars (
      number ${dialect.serialKey},
      id ${key} not null unique,
      project_id ${key} not null references projects (id),
      tenant_id ${key} not null references tenants (id),
      account_id ${key} not null references accounts (id),
      google_id ${key} not null,
      summary text,
      time_zone text,
      access_role text,
      is_primary bigint not null,
      is_hidden bigint not null,
      absent_once bigint not null default 0,
      account_state text not null,
      lost_reason text,
      paused_reason text,
      slowed_reason text,
      generation bigint not null default 0,
      published_at bigint,
      synced_at bigint,
      current_as_of bigint,
      fresh_until bigint,
      sync_token text,
      query_fingerprint text,
      requested bigint not null default 0,
      served bigint not null default 0,
      full_mark bigint not null default 0,
      full_served bigint not null default 0,
      unserved_since bigint,
      pending_since bigint,
      pending_due_at bigint,
      pending_class bigint,
      due_at bigint,
      due_class bigint not null,
      due_reason text not null,
      fence bigint not null default 0,
      lease_until bigint,
      listing_kind text,
      listing_page_token text,
      listing_started_at bigint,
      listing_pages bigint not null default 0,
      listing_fingerprint text,
      listing_requested bigint,
      earlier_attempt text not null default 'none',
      page_size bigint not null default 2500,
      consecutive_failures bigint not null default 0,
      last_failure_code text,
      token_deaths bigint not null default 0,
      last_token_death_at bigint,
      watch_state text not null default 'unwatched',
      watch_due_at bigint,
      watch_silent_at bigint,
      watch_failures bigint not null default 0,
      watch_earlier_attempt text not null default 'none',
      notified_at bigint,
      poll_kind text not null default 'first',
      last_read_at bigint,
      is_shadow bigint not null default 0,
      unique (account_id, google_id)
    )`;
}

function calendarIndexes(): RawBuilder<unknown>[] {
  return [
    // The first row of each tenant is its longest due.
    sql`create index calendars_due on calendars (due_class, tenant_id, due_at)
      where account_state = 'connected' and due_at is not null`,
    sql`create index calendars_watch_due on calendars (tenant_id, watch_due_at)
      where account_state = 'connected' and watch_due_at is not null`,
    // Counted as a whole, and a portion at a time is brought forward.
    sql`create index calendars_polled on calendars (project_id, poll_kind, number)
      where account_state = 'connected' and due_at is not null`,
    sql`create index calendars_silent on calendars (number) where watch_silent_at is not null`,
    sql`create index calendars_of_tenant on calendars (tenant_id, id)`,
    sql`create index calendars_of_account on calendars (account_id, id)`,
  ];
}

function events(dialect: Dialect): RawBuilder<unknown>[] {
  const key = keyText(dialect);
  const columns = sql`
      calendar_number bigint not null references calendars (number),
      event_key ${key} not null,
      version text,
      kind text not null,
      status text,
      recurring_event_key ${key},
      first_start_ms bigint not null,
      last_end_ms bigint not null,
      original_start_ms bigint,
      duration_ms bigint,
      updated_ms bigint`;
  const primaryKey = sql`primary key (calendar_number, event_key)`;
  return [
    sql`create table events (${columns}, raw text not null, ${primaryKey})`,
    // A null body: the published copy has this version already.
    sql`create table staged_events (${columns}, raw text, ${primaryKey})`,
    sql`create index events_range on events (calendar_number, last_end_ms, first_start_ms)`,
    // The longest series of a range, from the index alone: its rows are as large as their descriptions.
    sql`create index events_masters on events (calendar_number, last_end_ms, first_start_ms, duration_ms)
      where kind = 'master'`,
    sql`create index events_original_start on events (calendar_number, original_start_ms)
      where original_start_ms is not null`,
    sql`create index events_of_series on events (calendar_number, recurring_event_key)
      where recurring_event_key is not null`,
    sql`create index events_cancelled on events (calendar_number) where status = 'cancelled'`,
    ...steadyPlans(dialect),
  ];
}

// A calendar just filled is not in Postgres' statistics, which then promise one row of it, and a
// lookup by key reads the whole calendar. Without statistics its guess is a share of the table.
function steadyPlans(dialect: Dialect): RawBuilder<unknown>[] {
  if (dialect.name !== "postgres") return [];
  return ["events", "staged_events"].map(
    (table) => sql`alter table ${sql.table(table)} alter column calendar_number set statistics 0`,
  );
}

function refreshHistory(): RawBuilder<unknown> {
  return sql`create table refresh_history (
      calendar_number bigint not null references calendars (number),
      fence bigint not null,
      at bigint not null,
      kind text not null,
      class bigint not null,
      outcome text not null check (outcome in ('published', 'postponed')),
      code text,
      changes bigint not null,
      requests bigint not null,
      primary key (calendar_number, fence)
    )`;
}

function records(dialect: Dialect): RawBuilder<unknown>[] {
  const key = keyText(dialect);
  return [
    sql`create table channels (
      id ${key} primary key,
      calendar_id ${key} not null references calendars (id),
      resource_id text,
      expires_at bigint,
      state text not null check (state in ('opening', 'live', 'stopping')),
      created_at bigint not null,
      last_message_at bigint,
      reason text not null default 'first' check (reason in ('first', 'expiring', 'silent'))
    )`,
    sql`create index channels_of_calendar on channels (calendar_id)`,
    sql`create index channels_not_live on channels (state) where state <> 'live'`,
    sql`create index channels_after_silence on channels (created_at) where reason = 'silent'`,
    sql`create index channels_expiring on channels (expires_at) where state = 'live'`,
    sql`create table api_tokens (
      id ${key} primary key,
      name text not null,
      tenant_id ${key} references tenants (id),
      scopes text not null,
      sha256 text not null,
      created_at bigint not null,
      created_by text not null,
      last_used_at bigint,
      revoked_at bigint
    )`,
    sql`create index api_tokens_of_tenant on api_tokens (tenant_id, id)`,
    sql`create table settings (name ${key} primary key, value text not null, updated_at bigint not null)`,
    sql`create table poll_plans (
      project_id ${key} primary key,
      planned_at bigint not null,
      plan text,
      listened_at bigint,
      unheard_until bigint,
      unheard_after bigint not null default 0
    )`,
    sql`create table operator_log (
      sequence ${dialect.serialKey},
      at bigint not null,
      actor text not null,
      action text not null,
      subject text not null,
      reason text,
      details text not null
    )`,
    sql`create table ledger_epochs (
      project_id ${key} primary key,
      number bigint not null,
      epoch text not null,
      opened_at bigint not null,
      closed_at bigint,
      closed_sequence bigint
    )`,
    sql`create table ledger_days (
      project_id ${key} not null,
      day_started_at bigint not null,
      spent bigint not null,
      ledger_at bigint not null,
      primary key (project_id, day_started_at)
    )`,
  ];
}

function usage(dialect: Dialect): RawBuilder<unknown>[] {
  const key = keyText(dialect);
  return [
    // The period comes first: sums read a range of them, and forgetting takes the oldest.
    sql`create table usage_rollups (
      span_ms bigint not null,
      starts_at bigint not null,
      project_id ${key} not null,
      tenant_id ${key} not null,
      consumer ${key} not null,
      class ${key} not null,
      operation ${key} not null,
      attempt ${key} not null,
      outcome ${key} not null,
      reason ${key} not null,
      requests bigint not null,
      primary key (span_ms, starts_at, project_id, tenant_id, consumer, class, operation, attempt, outcome, reason)
    )`,
    sql`create table usage_batches (id ${key} primary key, at bigint not null)`,
    sql`create index usage_batches_at on usage_batches (at)`,
  ];
}
