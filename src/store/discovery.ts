import { sql } from "kysely";
import type {
  AccountStore,
  BeginDiscovery,
  DiscoveryLease,
  DiscoveryPostponed,
} from "../core/account-store.ts";
import { epochMs } from "../core/clock.ts";
import { accountId, tenantId } from "../core/ids.ts";
import { applyCalendarList } from "./apply-calendar-list.ts";
import type { Mirror } from "./busy-mirror.ts";
import type { Database, Trx } from "./database.ts";
import { fromStoredText, fromStoredTextOrUndefined, toStoredText } from "./stored-text.ts";

/*
 * An account's discovery: idle → leased (fence + 1) → idle, as a calendar's refresh. It ends by
 * apply, by postpone, or by its time, and then it is due at that moment.
 */

/** When accounts' calendar lists are read, and by whom. */
export function createDiscoveryStore(deps: {
  readonly database: Database;
  readonly mirror: Mirror;
}): Pick<
  AccountStore,
  | "requestDiscovery"
  | "claimDueDiscoveries"
  | "beginDiscovery"
  | "applyDiscovery"
  | "postponeDiscovery"
> {
  const { database } = deps;
  return {
    async requestDiscovery(id, dueAt) {
      const row = await database.write((trx) =>
        trx
          .updateTable("accounts")
          .set({
            discovery_requested: sql`discovery_requested + 1`,
            discovery_due_at: sql`case when discovery_due_at <= ${dueAt}
              then discovery_due_at else ${dueAt} end`,
          })
          .where("id", "=", toStoredText(id))
          .returning("id")
          .executeTakeFirst(),
      );
      return row === undefined ? "unknown-account" : "marked";
    },
    claimDueDiscoveries: (query) => claimDueDiscoveries(database, query),
    beginDiscovery: (id, lease) =>
      database.write((trx) => beginDiscovery(database, trx, { id, ...lease })),
    applyDiscovery: (lease, result) =>
      database.write((trx) => applyCalendarList({ ...deps, trx }, lease, result)),
    postponeDiscovery: (lease, outcome) =>
      database.write((trx) => postponeDiscovery(trx, lease, outcome)),
  };
}

async function claimDueDiscoveries(
  database: Database,
  query: Parameters<AccountStore["claimDueDiscoveries"]>[0],
): ReturnType<AccountStore["claimDueDiscoveries"]> {
  const rows = await database.write(async (trx) => {
    await database.dialect.excludeOthers(trx, "claim");
    return trx
      .updateTable("accounts")
      .set({ discovery_queued_until: query.now + query.queuedForMs })
      .where("id", "in", (inner) =>
        // In turn over the tenants: one that connects thousands of accounts delays nobody else's first.
        inner
          .selectFrom((due) =>
            due
              .selectFrom("accounts")
              .select([
                "id",
                "discovery_due_at",
                sql<number>`row_number() over (partition by tenant_id order by discovery_due_at)`.as(
                  "turn",
                ),
              ])
              .where(
                sql<boolean>`connection = 'connected' and paused_reason is null
              and discovery_due_at <= ${query.now}
              and (discovery_queued_until is null or discovery_queued_until <= ${query.now})
              and (discovery_lease_until is null or discovery_lease_until <= ${query.now})`,
              )
              .as("due"),
          )
          .select("id")
          .orderBy("turn")
          .orderBy("discovery_due_at")
          .limit(query.limit),
      )
      .returning(["id", "tenant_id"])
      .execute();
  });
  return rows.map((row) => ({
    accountId: accountId(row.id),
    tenantId: tenantId(fromStoredText(row.tenant_id)),
  }));
}

async function beginDiscovery(
  database: Database,
  trx: Trx,
  lease: { readonly id: DiscoveryLease["accountId"]; readonly now: number; readonly until: number },
): Promise<BeginDiscovery> {
  const row = await trx
    .selectFrom("accounts")
    .selectAll()
    .where("id", "=", toStoredText(lease.id))
    .modifyEnd(database.dialect.forUpdate)
    .executeTakeFirst();
  if (row === undefined) return { kind: "unknown-account" };
  if (row.paused_reason !== null) {
    return { kind: "not-refreshable", reason: `paused: ${row.paused_reason}` };
  }
  if (row.connection !== "connected") {
    return { kind: "not-refreshable", reason: `account ${row.connection}` };
  }
  if (row.discovery_lease_until !== null && row.discovery_lease_until > lease.now) {
    return { kind: "busy", until: epochMs(row.discovery_lease_until) };
  }
  if (row.discovery_due_at === null || row.discovery_due_at > lease.now) return { kind: "not-due" };
  const fence = row.discovery_fence + 1;
  await trx
    .updateTable("accounts")
    .set({
      discovery_fence: fence,
      discovery_lease_until: lease.until,
      discovery_due_at: lease.until,
      discovery_reason: "interrupted",
      discovery_queued_until: null,
      discovery_begun_mark: row.discovery_requested,
      discovery_earlier_attempt: "reached-google",
    })
    .where("id", "=", row.id)
    .execute();
  return {
    kind: "begun",
    lease: { accountId: lease.id, fence },
    state: {
      accountId: lease.id,
      tenantId: tenantId(fromStoredText(row.tenant_id)),
      syncToken: fromStoredTextOrUndefined(row.list_sync_token),
      queryFingerprint: row.list_fingerprint ?? undefined,
      earlierAttempt: row.discovery_earlier_attempt,
      requested: row.discovery_requested,
      consecutiveFailures: row.discovery_failures,
    },
  };
}

async function postponeDiscovery(
  trx: Trx,
  lease: DiscoveryLease,
  outcome: DiscoveryPostponed,
): Promise<"postponed" | "fenced-out"> {
  const { failure } = outcome;
  const row = await trx
    .updateTable("accounts")
    .set({
      discovery_fence: sql`discovery_fence + 1`,
      discovery_lease_until: null,
      discovery_queued_until: null,
      // What was asked for meanwhile keeps its own, earlier time.
      discovery_due_at: sql`case when discovery_requested > discovery_begun_mark
        and discovery_due_at < ${outcome.dueAt} then discovery_due_at else ${outcome.dueAt} end`,
      discovery_reason: outcome.reason,
      discovery_earlier_attempt: outcome.earlierAttempt,
      ...(failure === undefined
        ? {}
        : { discovery_failures: failure.consecutive, discovery_failure_code: failure.code }),
      ...(outcome.dropSyncToken ? { list_sync_token: null } : {}),
    })
    .where("id", "=", toStoredText(lease.accountId))
    .where("discovery_fence", "=", lease.fence)
    .returning("id")
    .executeTakeFirst();
  return row === undefined ? "fenced-out" : "postponed";
}
