import { sql, type Selectable } from "kysely";
import type {
  AccountConnection,
  AccountPauses,
  AccountRow,
  AccountState,
  AccountStore,
} from "../core/account-store.ts";
import { epochMs, type Clock } from "../core/clock.ts";
import { accountId, accountName, projectId, quotaUser, tenantId } from "../core/ids.ts";
import { movePauseOfLedger, notePauseForLedger } from "./account-pause.ts";
import { momentOf } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { createDiscoveryStore } from "./discovery.ts";
import type { Mirror } from "./busy-mirror.ts";
import { newId } from "./new-id.ts";
import { noteAccount, stateOfAccount } from "./note-account.ts";
import { appendEntry } from "./operator-log.ts";
import {
  primaryOfServiceAccount,
  quotaUserAtConnect,
  quotaUserAtReconnect,
  shareQuotaUser,
} from "./quota-users.ts";
import { requireStaying } from "./removal-scope.ts";
import { grantOf, openGrant, sealGrant, storeGrant } from "./stored-grants.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";
import type { AccountsTable } from "./tables.ts";
import type { Vault } from "./vault.ts";

/*
 * An account's state is told from two things kept apart: its connection (connected ⇄ needs-reconnect,
 * either → removed), which Google and reconnecting decide, and an operator's pause, which only an
 * operator lifts (I12). Its calendars carry a copy, so that a claim needs no join, and a pause is a setting
 * of the ledger's, too; every change here writes all of them in one transaction.
 */

interface AccountDeps {
  readonly database: Database;
  readonly vault: Vault;
  readonly clock: Clock;
  readonly mirror: Mirror;
}

const MAX_LIST = 1_000;
type StoredAccount = Selectable<AccountsTable>;

/** Accounts and their credentials, in the database. */
export function createAccountStore(deps: AccountDeps): AccountStore & AccountPauses {
  const { database } = deps;
  return {
    ...createDiscoveryStore(deps),
    connect: (connection) => database.write((trx) => connectAccount(deps, trx, connection)),
    async get(id) {
      const row = await database.read((db) => findById(db, id));
      return row === undefined ? undefined : toAccountRow(row);
    },
    async find(tenant, name) {
      const row = await database.read((db) => findByName(db, tenant, name));
      return row === undefined ? undefined : toAccountRow(row);
    },
    list: (page) => list(database, page),
    countsByState: () => countsByState(database),
    ...credentials(deps),
    markNeedsReconnect: (id, reason) =>
      database.write(async (trx) => {
        const at = deps.clock.now();
        const row = await trx
          .updateTable("accounts")
          .set({
            connection: "needs-reconnect",
            connection_reason: reason,
            connection_since: at,
          })
          .where("id", "=", toStoredText(id))
          .where("connection", "=", "connected")
          .returningAll()
          .executeTakeFirst();
        if (row === undefined) return false;
        await copyToCalendars(trx, row);
        await noteAccount({ database, trx }, row, { kind: "account-needs-reconnect", at });
        return true;
      }),
    setOperatorPause: (id, pause, by) =>
      database.write(async (trx) => {
        const before = await findById(trx, id);
        const row = await trx
          .updateTable("accounts")
          .set({
            paused_reason: pause?.reason ?? null,
            paused_since: pause === undefined ? null : by.now,
          })
          .where("id", "=", toStoredText(id))
          .where("connection", "<>", "removed")
          .returningAll()
          .executeTakeFirst();
        if (row === undefined) return "unknown-account";
        await copyToCalendars(trx, row);
        await notePauseForLedger(trx, row, by.now);
        await appendEntry(trx, {
          at: by.now,
          actor: by.actor,
          action: pause === undefined ? "account.resumed" : "account.paused",
          subject: id,
          reason: pause?.reason,
          details: {},
        });
        if (before?.paused_reason !== row.paused_reason) {
          const kind = pause === undefined ? "account-resumed" : "account-paused";
          await noteAccount({ database, trx }, row, { kind, at: by.now });
        }
        return "set";
      }),
  };
}

async function list(
  database: Database,
  { tenantId: tenant, state, after, limit }: Parameters<AccountStore["list"]>[0],
): Promise<readonly AccountRow[]> {
  const rows = await database.read((db) =>
    db
      .selectFrom("accounts")
      .selectAll()
      .$if(tenant !== undefined, (query) =>
        query.where("tenant_id", "=", toStoredText(tenant ?? "")),
      )
      .$if(state !== undefined, (query) => query.where(sql<boolean>`${STATE_SQL} = ${state}`))
      .$if(after !== undefined, (query) => query.where("id", ">", toStoredText(after ?? "")))
      .orderBy("id")
      .limit(Math.min(Math.max(limit, 1), MAX_LIST))
      .execute(),
  );
  return rows.map(toAccountRow);
}

type Handle = Parameters<Parameters<Database["read"]>[0]>[0];

function findById(db: Handle, id: string): Promise<StoredAccount | undefined> {
  return db
    .selectFrom("accounts")
    .selectAll()
    .where("id", "=", toStoredText(id))
    .executeTakeFirst();
}

function findByName(db: Handle, tenant: string, name: string): Promise<StoredAccount | undefined> {
  return db
    .selectFrom("accounts")
    .selectAll()
    .where("tenant_id", "=", toStoredText(tenant))
    .where("name", "=", toStoredText(name))
    .executeTakeFirst();
}

/** `stateOfAccount` as SQL. */
const STATE_SQL = sql<AccountState>`case
  when connection = 'removed' then 'removed'
  when paused_reason is not null then 'paused'
  else connection end`;

function toAccountRow(row: StoredAccount): AccountRow {
  const state = stateOfAccount(row);
  const isPaused = state === "paused";
  const reason = isPaused ? row.paused_reason : row.connection_reason;
  return {
    id: accountId(row.id),
    projectId: projectId(fromStoredText(row.project_id)),
    tenantId: tenantId(fromStoredText(row.tenant_id)),
    name: accountName(fromStoredText(row.name)),
    quotaUser: quotaUser(row.quota_user),
    state,
    stateReason: reason ?? undefined,
    stateSince: epochMs((isPaused ? row.paused_since : undefined) ?? row.connection_since),
    grantKind: row.grant_kind,
    scopes: row.scopes === "" ? [] : row.scopes.split(" "),
    connectedAt: epochMs(row.connected_at),
    discoveredAt: momentOf(row.discovered_at),
    discoveryDueAt: momentOf(row.discovery_due_at),
  };
}

async function copyToCalendars(trx: Trx, row: StoredAccount): Promise<void> {
  await trx
    .updateTable("calendars")
    .set({ account_state: stateOfAccount(row), paused_reason: row.paused_reason })
    .where("account_id", "=", row.id)
    // One that is being removed while its account stays.
    .where("account_state", "<>", "removed")
    .execute();
}

/** In the caller's transaction; throws `BeingRemoved`. */
export async function connectAccount(
  { database, vault }: Pick<AccountDeps, "database" | "vault">,
  trx: Trx,
  connection: AccountConnection,
): Promise<AccountRow> {
  const { now } = connection;
  const tenant = toStoredText(connection.tenantId);
  const name = toStoredText(connection.name);
  const project = toStoredText(connection.projectId);
  for (const [table, id] of [
    ["projects", project],
    ["tenants", tenant],
  ] as const) {
    await trx
      .insertInto(table)
      .values({ id, created_at: now })
      .onConflict((conflict) => conflict.column("id").doNothing())
      .execute();
  }
  await holdTenant(database, trx, tenant);
  const known = await findByName(trx, connection.tenantId, connection.name);
  await requireStaying(trx, { tenant, account: known?.id, name: connection.name });
  const id = known?.id ?? newId("acc", now);
  const grant = grantOf(connection);
  const fresh = {
    project_id: project,
    connection: "connected",
    connection_reason: null,
    connection_since: now,
    scopes: connection.scopes.join(" "),
    connected_at: now,
    ...sealGrant(grant, id, vault),
    grant_failed_at: null,
    discovery_due_at: now,
    discovery_reason: "connected",
    discovery_queued_until: null,
    ...primaryAtConnect(connection),
    ...shadowAtConnect(connection),
  } as const;
  const stored = await trx
    .insertInto("accounts")
    .values({ id, tenant_id: tenant, name, ...quotaUserAtConnect(connection), ...fresh })
    .onConflict((conflict) =>
      conflict.columns(["tenant_id", "name"]).doUpdateSet({
        ...fresh,
        discovery_requested: sql`accounts.discovery_requested + 1`,
        discovery_failures: 0,
        ...quotaUserAtReconnect(connection),
      }),
    )
    .returningAll()
    .executeTakeFirstOrThrow();
  // Two first connects at once: the row has the id of the one that came first, the seal another's.
  if (stored.id !== id) await storeGrant(trx, stored.id, sealGrant(grant, stored.id, vault));
  if (known !== undefined) await movePauseOfLedger(trx, { from: known, to: stored }, now);
  const row = await shareQuotaUser(trx, stored);
  await copyToCalendars(trx, row);
  await trx
    .updateTable("calendars")
    .set({ project_id: project })
    .where("account_id", "=", row.id)
    .where("project_id", "<>", project)
    .execute();
  if (isNews(known, row)) {
    await noteAccount({ database, trx }, row, { kind: "account-connected", at: now });
  }
  return toAccountRow(row);
}

/** Who removes a tenant or an account takes the same lock: a connect comes before that, or is refused. */
async function holdTenant(database: Database, trx: Trx, tenant: string): Promise<void> {
  await trx
    .selectFrom("tenants")
    .select("id")
    .where("id", "=", tenant)
    .modifyEnd(database.dialect.forUpdate)
    .execute();
}

function shadowAtConnect({ isShadow }: AccountConnection): { is_shadow?: number } {
  return isShadow === undefined ? {} : { is_shadow: isShadow ? 1 : 0 };
}

/** To those who follow the tenant: an account in shadow is not there for them. */
function isNews(before: StoredAccount | undefined, now: StoredAccount): boolean {
  const wasThere = before?.connection === "connected" && before.is_shadow === 0;
  return !wasThere && now.is_shadow === 0;
}

/** Whom a service account acts for is known by address; everyone else by the first list. */
function primaryAtConnect({ serviceAccount }: AccountConnection): { primary_hash?: string } {
  return serviceAccount === undefined
    ? {}
    : { primary_hash: primaryOfServiceAccount(serviceAccount) };
}

function credentials({
  database,
  vault,
}: AccountDeps): Pick<AccountStore, "readGrant" | "replaceRefreshToken"> {
  return {
    async readGrant(id) {
      const row = await database.read((db) =>
        db
          .selectFrom("accounts")
          .select(["grant_kind", "grant_sealed", "grant_key"])
          .where("id", "=", toStoredText(id))
          .executeTakeFirst(),
      );
      return row === undefined ? undefined : openGrant(row, id, vault);
    },
    replaceRefreshToken: (id, refreshToken) =>
      database.write((trx) =>
        storeGrant(trx, id, sealGrant({ kind: "refresh-token", refreshToken }, id, vault)),
      ),
  };
}

async function countsByState(database: Database): Promise<Readonly<Record<AccountState, number>>> {
  const rows = await database.read((db) =>
    db
      .selectFrom("accounts")
      .select([
        "connection",
        sql<number>`count(*)`.as("count"),
        sql<string | null>`max(paused_reason)`.as("paused_reason"),
      ])
      .groupBy(["connection", sql`case when paused_reason is null then 0 else 1 end`])
      .execute(),
  );
  const counts = { connected: 0, "needs-reconnect": 0, paused: 0, removed: 0 };
  for (const row of rows) counts[stateOfAccount(row)] += row.count;
  return counts;
}
