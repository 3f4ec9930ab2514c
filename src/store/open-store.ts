import type { AccountPauses, AccountStore } from "../core/account-store.ts";
import type { CalendarStore } from "../core/calendar-store.ts";
import type { ChangeNews, ChangeStore } from "../core/change-store.ts";
import type { ChannelStore } from "../core/channel-store.ts";
import type { Clock } from "../core/clock.ts";
import type { DeadGrants } from "../core/dead-grants.ts";
import type { CredentialsSource } from "../core/credentials-source.ts";
import type { EventStore } from "../core/event-store.ts";
import type { ImportStore } from "../core/import-store.ts";
import type { KeyRotation } from "../core/key-rotation.ts";
import type { LedgerRecord } from "../core/ledger-record.ts";
import type { OperatorLog } from "../core/operator-log.ts";
import type { PollStore } from "../core/poll-store.ts";
import type { RefreshHistory } from "../core/refresh-history.ts";
import type { ProjectTroubles } from "../core/project-troubles.ts";
import type { RefreshStore } from "../core/refresh-store.ts";
import type { RemovalStore } from "../core/removal-store.ts";
import type { SettingsStore } from "../core/settings-store.ts";
import type { StoreHealth } from "../core/store-health.ts";
import type { TenantStore } from "../core/tenant-store.ts";
import type { TokenStore } from "../core/token-store.ts";
import type { UsageStore } from "../core/usage-store.ts";
import type { WebhookStore } from "../core/webhook-store.ts";
import { createAccountStore } from "./accounts.ts";
import { mirrorOf } from "./busy-mirror.ts";
import { createCalendarStore } from "./calendars.ts";
import { createChangeStore } from "./changes.ts";
import { createChannelStore } from "./channels.ts";
import { createCredentialsSource, createLeavingCredentials } from "./credentials.ts";
import { createDeadGrants } from "./dead-grants.ts";
import type { Database } from "./database.ts";
import { createEventStore } from "./events.ts";
import { createImportStore } from "./imports.ts";
import { createLedgerRecord } from "./ledger-records.ts";
import { createMigrations, requireSupportedSchema, type Migrations } from "./migrations.ts";
import { createOperatorLog } from "./operator-log.ts";
import { createPollStore } from "./polls.ts";
import { openPostgresDatabase } from "./postgres-database.ts";
import { createRefreshHistory } from "./refresh-history.ts";
import { createProjectTroubles } from "./project-troubles.ts";
import { createRefreshStore } from "./refreshes.ts";
import { createRemovalStore } from "./removals.ts";
import { createKeyRotation } from "./rotate-keys.ts";
import { createSettingsStore } from "./settings.ts";
import { openSqliteDatabase } from "./sqlite-database.ts";
import { createTenantStore } from "./tenants.ts";
import { createTokenStore } from "./tokens.ts";
import { createUsageStore } from "./usage-rollups.ts";
import type { Vault } from "./vault.ts";
import { watchCommits } from "./watch-commits.ts";
import { watchHealth } from "./watch-health.ts";
import { createWebhookStore } from "./webhooks.ts";

export interface StoreOptions {
  /** `sqlite:PATH` or `postgres://…`. */
  readonly url: string;
  readonly mirror: "full" | "busy";
  /** What `start` does for its embedded database; nothing else migrates by itself. */
  readonly migrateWhenEmpty: boolean;
}

/** Every port that the database stands behind, and its one connection to it. */
export interface Store {
  readonly calendars: CalendarStore;
  readonly refreshes: RefreshStore;
  readonly refreshHistory: RefreshHistory;
  readonly events: EventStore;
  readonly accounts: AccountStore & AccountPauses;
  readonly credentials: CredentialsSource;
  /** Of accounts that are being removed, too: for whoever stops what they have at Google. */
  readonly leavingCredentials: CredentialsSource;
  readonly removals: RemovalStore;
  readonly deadGrants: DeadGrants;
  readonly imports: ImportStore;
  readonly keyRotation: KeyRotation;
  readonly projectTroubles: ProjectTroubles;
  readonly changes: ChangeStore;
  readonly changeNews: ChangeNews;
  readonly channels: ChannelStore;
  readonly settings: SettingsStore;
  readonly operatorLog: OperatorLog;
  readonly polls: PollStore;
  readonly ledgerRecord: LedgerRecord;
  readonly tenants: TenantStore;
  readonly tokens: TokenStore;
  readonly usage: UsageStore;
  readonly webhooks: WebhookStore;
  readonly migrations: Migrations;
  /** Whether what would be fetched now could be stored (I13). */
  readonly health: StoreHealth;
  /** Seals what the fleet shares outside of the database. */
  readonly vault: Vault;
  close(): Promise<void>;
}

/**
 * Open the database and check that this build can run with its schema: `SchemaVersionUnsupported`
 * says which versions and the next command, `StoreUnavailable` that it cannot be reached.
 */
export async function openStore(
  options: StoreOptions,
  deps: { readonly clock: Clock; readonly vault: Vault },
): Promise<Store> {
  const { database, health } = watchHealth(openDatabase(options.url), deps.clock);
  try {
    const migrations = createMigrations(database, deps.clock);
    if (options.migrateWhenEmpty && (await migrations.isEmpty())) await migrations.apply();
    await requireSupportedSchema(migrations);
    return storeOver(database, { ...deps, health, migrations, mirror: mirrorOf(options.mirror) });
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Only what `ballast migrate` needs: opens a database whatever its schema is. */
export function openMigrations(
  url: string,
  deps: { readonly clock: Clock },
): Migrations & { close(): Promise<void> } {
  const database = openDatabase(url);
  return { ...createMigrations(database, deps.clock), close: () => database.close() };
}

function openDatabase(url: string): Database {
  if (url.startsWith("sqlite:")) return openSqliteDatabase(url.slice("sqlite:".length));
  if (/^postgres(?:ql)?:\/\//.test(url)) return openPostgresDatabase(url);
  throw new TypeError("The database's address must begin with sqlite: or postgres://");
}

function storeOver(
  watched: Database,
  deps: {
    readonly clock: Clock;
    readonly vault: Vault;
    readonly migrations: Migrations;
    readonly health: StoreHealth;
    readonly mirror: ReturnType<typeof mirrorOf>;
  },
): Store {
  const { database, news } = watchCommits(watched);
  const parts = { ...deps, database };
  const accounts = createAccountStore(parts);
  return {
    calendars: createCalendarStore(parts),
    refreshes: createRefreshStore(parts),
    refreshHistory: createRefreshHistory(parts),
    events: createEventStore(parts),
    accounts,
    credentials: createCredentialsSource(accounts),
    leavingCredentials: createLeavingCredentials(accounts),
    removals: createRemovalStore(parts),
    deadGrants: createDeadGrants(parts),
    imports: createImportStore(parts),
    keyRotation: createKeyRotation(parts),
    projectTroubles: createProjectTroubles(parts),
    changes: createChangeStore(parts),
    changeNews: news,
    channels: createChannelStore(parts),
    settings: createSettingsStore(parts),
    operatorLog: createOperatorLog(parts),
    polls: createPollStore(parts),
    ledgerRecord: createLedgerRecord(parts),
    tenants: createTenantStore(parts),
    tokens: createTokenStore(parts),
    usage: createUsageStore(parts),
    webhooks: createWebhookStore(parts),
    migrations: deps.migrations,
    health: deps.health,
    vault: deps.vault,
    close: () => database.close(),
  };
}
