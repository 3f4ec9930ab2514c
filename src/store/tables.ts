import type { ColumnType, Generated } from "kysely";
import type { ExcludedCalendarsTable, RemovalsTable } from "./leaving-tables.ts";
import type { PollKind } from "../core/poll-store.ts";

/** Written with a default when a row is made, then read and updated. */
type Defaulted<T> = ColumnType<T, T | undefined, T>;

interface ProjectsTable {
  id: string;
  created_at: number;
}

interface TenantsTable {
  id: string;
  created_at: number;
  /** Changes up to this number have been forgotten. */
  changes_forgotten: Defaulted<number>;
}

/** Credentials are sealed by the vault; `connection` and the operator's pause are kept apart (I12). */
export interface AccountsTable {
  id: string;
  project_id: string;
  tenant_id: string;
  name: string;
  quota_user: string;
  /** What `quota_user` was made of; what Google said itself (`sub`) outranks the rest. */
  quota_user_from: Defaulted<"sub" | "primary" | "name">;
  /** The primary calendar's id, hashed: by it one Google user is known under two tenants. */
  primary_hash: string | null;
  connection: "connected" | "needs-reconnect" | "removed";
  connection_reason: string | null;
  connection_since: Defaulted<number>;
  paused_reason: string | null;
  paused_since: number | null;
  scopes: string;
  connected_at: number;
  grant_kind: Defaulted<"refresh-token" | "service-account">;
  grant_sealed: string | null;
  grant_key: string | null;
  /** When Google last refused its refresh token; stays while it is kept connected in a wave of them. */
  grant_failed_at: number | null;
  list_sync_token: string | null;
  list_fingerprint: string | null;
  discovered_at: number | null;
  discovery_due_at: number | null;
  discovery_reason: string;
  discovery_queued_until: number | null;
  discovery_lease_until: number | null;
  discovery_fence: Defaulted<number>;
  discovery_requested: Defaulted<number>;
  discovery_served: Defaulted<number>;
  discovery_begun_mark: Defaulted<number>;
  discovery_earlier_attempt: Defaulted<"none" | "reached-google">;
  discovery_failures: Defaulted<number>;
  discovery_failure_code: string | null;
  /** The class of the first syncs of what its next list holds. */
  first_class: Defaulted<number>;
  /** 1: mirrored, to be compared, and served to nobody. */
  is_shadow: Defaulted<number>;
}

/** `number` is what events refer to: an integer keeps their rows and indexes small. */
export interface CalendarsTable {
  number: Generated<number>;
  id: string;
  project_id: string;
  tenant_id: string;
  account_id: string;
  google_id: string;
  summary: string | null;
  time_zone: string | null;
  access_role: string | null;
  is_primary: number;
  is_hidden: number;
  /** 1 after the calendar was absent from one full list; absent again it is lost. */
  absent_once: Defaulted<number>;
  /** A copy of the account's state, so that a claim needs no join. */
  account_state: string;
  lost_reason: string | null;
  paused_reason: string | null;
  slowed_reason: string | null;
  generation: Defaulted<number>;
  published_at: number | null;
  synced_at: number | null;
  current_as_of: number | null;
  fresh_until: number | null;
  sync_token: string | null;
  query_fingerprint: string | null;
  requested: Defaulted<number>;
  served: Defaulted<number>;
  full_mark: Defaulted<number>;
  full_served: Defaulted<number>;
  unserved_since: number | null;
  /** What was asked for since the running refresh began: it leads to another one (I6). */
  pending_since: number | null;
  pending_due_at: number | null;
  pending_class: number | null;
  due_at: number | null;
  due_class: number;
  due_reason: string;
  fence: Defaulted<number>;
  lease_until: number | null;
  listing_kind: "full" | "incremental" | null;
  listing_page_token: string | null;
  listing_started_at: number | null;
  listing_pages: Defaulted<number>;
  listing_fingerprint: string | null;
  /** `requested` when the listing began: what its publish serves. */
  listing_requested: number | null;
  earlier_attempt: Defaulted<"none" | "reached-google">;
  page_size: Defaulted<number>;
  consecutive_failures: Defaulted<number>;
  last_failure_code: string | null;
  token_deaths: Defaulted<number>;
  last_token_death_at: number | null;
  watch_state: Defaulted<"unwatched" | "watched" | "unwatchable">;
  /** When its channels need looking after; while they are, when somebody else may. */
  watch_due_at: number | null;
  watch_silent_at: number | null;
  watch_failures: Defaulted<number>;
  watch_earlier_attempt: Defaulted<"none" | "reached-google">;
  /** The last notification that had to be written down, of whichever channel. */
  notified_at: number | null;
  /** As the last publish or what happened to its channels since left it. */
  poll_kind: Defaulted<PollKind>;
  /** The last read that was noted: coarse. */
  last_read_at: number | null;
  /** A copy of the account's, so that a read needs no join. */
  is_shadow: Defaulted<number>;
}

/** Claimed and not begun: hidden from claims until then. Here, because rows of `calendars` are wide and much indexed. */
interface QueuedCalendarsTable {
  calendar_number: number;
  tenant_id: string;
  /** Of the job that waits. */
  due_class: number;
  queued_until: number;
}

/** Which tenants claimers look at, and from when on: see `due-tenants.ts`. */
interface DueTenantsTable {
  /** The rank of a class, or the kind of work that channels are. */
  due_class: number;
  tenant_id: string;
  look_at: number;
  turns: Defaulted<number>;
  given: Defaulted<number>;
}

/** What became claimable sooner, until a claimer has seen it. */
interface DueNotesTable {
  number: Generated<number>;
  due_class: number;
  tenant_id: string;
  look_at: number;
}

/** What reads and the publish decide by, beside the raw event. */
export interface EventColumns {
  event_key: string;
  /** Projection and etag: equal means that the stored copy need not be written again. Null: no etag. */
  version: string | null;
  kind: "single" | "master" | "exception";
  status: string | null;
  recurring_event_key: string | null;
  /** The earliest moment the event, or its series, may touch. */
  first_start_ms: number;
  /** The latest; `OPEN_ENDED_MS` for a series without an end. */
  last_end_ms: number;
  original_start_ms: number | null;
  duration_ms: number | null;
  updated_ms: number | null;
}

export interface EventsTable extends EventColumns {
  calendar_number: number;
  raw: string;
}

export interface StagedEventsTable extends EventColumns {
  calendar_number: number;
  /** Null where the published copy has this version already. */
  raw: string | null;
}

interface ChannelsTable {
  id: string;
  calendar_id: string;
  resource_id: string | null;
  expires_at: number | null;
  state: "opening" | "live" | "stopping";
  created_at: number;
  last_message_at: number | null;
  reason: Defaulted<"first" | "expiring" | "silent">;
}

/** How the last refreshes of a calendar ended; `fence` is their lease's. */
interface RefreshHistoryTable {
  calendar_number: number;
  fence: number;
  at: number;
  kind: "full" | "incremental";
  class: number;
  outcome: "published" | "postponed";
  code: string | null;
  changes: number;
  requests: number;
}

/** The feed; `sequence` rises in the order of commits within a tenant. */
interface ChangesTable {
  sequence: Generated<number>;
  tenant_id: string;
  account_id: string;
  calendar_id: string | null;
  event_key: string | null;
  kind: string;
  generation: number;
  at: number;
  account_state: string | null;
  reason: string | null;
}

/** Where a tenant's changes are sent; the secret is sealed by the vault. */
export interface WebhooksTable {
  tenant_id: string;
  url: string;
  secret_sealed: string;
  secret_key: string;
  /** Of the feed: taken by the receiver up to here. */
  position: number;
  due_at: number;
  lease_until: number | null;
  fence: Defaulted<number>;
  failures: Defaulted<number>;
  failing_since: number | null;
  last_failure: string | null;
  disabled_reason: string | null;
  delivered_at: number | null;
  created_at: number;
  created_by: string;
}

/** Tokens of the HTTP API, by their hash; `tenant_id` null: an operator's. */
export interface ApiTokensTable {
  id: string;
  name: string;
  tenant_id: string | null;
  scopes: string;
  sha256: string;
  created_at: number;
  created_by: string;
  last_used_at: number | null;
  revoked_at: number | null;
}

interface SettingsTable {
  name: string;
  value: string;
  updated_at: number;
}

/** What all processes plan polls by; null: whose turn it was has not kept one yet. */
interface PollPlansTable {
  project_id: string;
  planned_at: number;
  plan: string | null;
  /** When somebody last said that what Google sends is heard. */
  listened_at: number | null;
  /** What was sent before is lost: calendars known to be current no later than this are to be polled … */
  unheard_until: number | null;
  /** … of which those up to this number have been seen to. */
  unheard_after: Defaulted<number>;
}

interface OperatorLogTable {
  sequence: Generated<number>;
  at: number;
  actor: string;
  action: string;
  subject: string;
  reason: string | null;
  details: string;
}

interface LedgerEpochsTable {
  project_id: string;
  number: number;
  epoch: string;
  opened_at: number;
  closed_at: number | null;
  closed_sequence: number | null;
}

interface LedgerDaysTable {
  project_id: string;
  day_started_at: number;
  spent: number;
  ledger_at: number;
}

interface UsageRollupsTable {
  span_ms: number;
  starts_at: number;
  project_id: string;
  tenant_id: string;
  consumer: string;
  class: string;
  operation: string;
  attempt: string;
  outcome: string;
  reason: string;
  requests: number;
}

/** Batches of figures that have been counted; a batch may be handed in again. */
interface UsageBatchesTable {
  id: string;
  at: number;
}

interface SchemaMigrationsTable {
  version: number;
  name: string;
  applied_at: number;
}

/** Every table as Kysely sees it. Times are epoch milliseconds, truth values 0 or 1. */
export interface Tables {
  projects: ProjectsTable;
  tenants: TenantsTable;
  accounts: AccountsTable;
  calendars: CalendarsTable;
  queued_calendars: QueuedCalendarsTable;
  due_tenants: DueTenantsTable;
  due_notes: DueNotesTable;
  events: EventsTable;
  staged_events: StagedEventsTable;
  changes: ChangesTable;
  webhooks: WebhooksTable;
  channels: ChannelsTable;
  refresh_history: RefreshHistoryTable;
  api_tokens: ApiTokensTable;
  settings: SettingsTable;
  poll_plans: PollPlansTable;
  operator_log: OperatorLogTable;
  ledger_epochs: LedgerEpochsTable;
  ledger_days: LedgerDaysTable;
  usage_rollups: UsageRollupsTable;
  usage_batches: UsageBatchesTable;
  removals: RemovalsTable;
  excluded_calendars: ExcludedCalendarsTable;
  schema_migrations: SchemaMigrationsTable;
}
