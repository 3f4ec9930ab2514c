import { sql } from "kysely";
import type { ClaimedCalendar, ClaimQuery } from "../core/calendar-store.ts";
import { calendarId, tenantId } from "../core/ids.ts";
import { REQUEST_CLASSES, type RequestClass } from "../core/request.ts";
import { rankOfClass } from "./calendar-rows.ts";
import { fromStoredText } from "./stored-text.ts";
import type { Database, Reader, Trx } from "./database.ts";

/** From this many on a backlog is an estimate. */
const BACKLOG_EXACT_TO = 10_000;

interface Claimed {
  readonly id: string;
  readonly tenantId: string;
  readonly classRank: number;
}

/**
 * Take due calendars: class by class, and within a class round after round over the tenants that
 * have due work, so that one tenant's backlog neither hides nor delays another's. The index gives
 * each tenant's longest due row in one step, so the work depends on the tenants and the rows taken,
 * not on how many are overdue.
 */
export async function claimDueCalendars(
  database: Database,
  query: ClaimQuery,
): Promise<readonly ClaimedCalendar[]> {
  const claimed = await database.write(async (trx) => {
    // K counts what others have queued: two claimers at once would each count too few.
    await database.dialect.excludeOthers(trx, "claim");
    const queued = await countQueued(trx, query.now);
    const taken: Claimed[] = [];
    const wanted = query.classes ?? REQUEST_CLASSES;
    for (const name of REQUEST_CLASSES.filter((one) => wanted.includes(one))) {
      if (taken.length >= query.limit) break;
      await claimClass({ database, trx, query, queued, taken }, rankOfClass(name));
    }
    return taken;
  });
  return claimed.map((row) => ({
    calendarId: calendarId(row.id),
    tenantId: tenantId(fromStoredText(row.tenantId)),
    class: REQUEST_CLASSES[row.classRank] ?? "backfill",
  }));
}

interface ClaimRun {
  readonly database: Database;
  readonly trx: Trx;
  readonly query: ClaimQuery;
  /** How many each tenant has queued, those of this claim included. */
  readonly queued: Map<string, number>;
  readonly taken: Claimed[];
}

async function claimClass(run: ClaimRun, classRank: number): Promise<void> {
  const { query, queued, taken } = run;
  let tenants = await dueTenants(run.trx, classRank, query.now);
  const roomOf = (tenant: string): number => query.perTenant - (queued.get(tenant) ?? 0);
  while (taken.length < query.limit) {
    const left = query.limit - taken.length;
    const open = tenants.filter((tenant) => roomOf(tenant) > 0).slice(0, left);
    if (open.length === 0) return;
    const each = Math.max(1, Math.floor(left / open.length));
    const asks = open.map((tenant) => ({ tenant, take: Math.min(each, roomOf(tenant)) }));
    const rows = await takeRound(run, classRank, asks);
    const counts = new Map<string, number>();
    for (const row of rows) {
      taken.push({ id: row.id, tenantId: row.tenant_id, classRank });
      queued.set(row.tenant_id, (queued.get(row.tenant_id) ?? 0) + 1);
      counts.set(row.tenant_id, (counts.get(row.tenant_id) ?? 0) + 1);
    }
    // Who gave less than was asked for has no more.
    const exhausted = new Set(
      asks.filter((ask) => (counts.get(ask.tenant) ?? 0) < ask.take).map((ask) => ask.tenant),
    );
    tenants = tenants.filter((tenant) => !exhausted.has(tenant));
  }
}

async function takeRound(
  { database, trx, query }: ClaimRun,
  classRank: number,
  asks: readonly { readonly tenant: string; readonly take: number }[],
): Promise<readonly { id: string; tenant_id: string }[]> {
  const found = await database.dialect
    .dueCalendars(asks, { classRank, now: query.now })
    .execute(trx);
  const left = new Map(asks.map((ask) => [ask.tenant, ask.take]));
  const rows = found.rows
    .toSorted((a, b) => a.due_at - b.due_at)
    .filter((row) => {
      const room = left.get(row.tenant_id) ?? 0;
      left.set(row.tenant_id, room - 1);
      return room > 0;
    });
  if (rows.length === 0) return rows;
  await trx
    .updateTable("calendars")
    .set({ queued_until: query.now + query.queuedForMs })
    .where(
      "id",
      "in",
      rows.map((row) => row.id),
    )
    .execute();
  return rows;
}

async function countQueued(trx: Trx, now: number): Promise<Map<string, number>> {
  const rows = await trx
    .selectFrom("calendars")
    .select(["tenant_id", sql<number>`count(*)`.as("count")])
    .where("queued_until", "is not", null)
    .where("queued_until", ">", now)
    .groupBy("tenant_id")
    .execute();
  return new Map(rows.map((row) => [row.tenant_id, row.count]));
}

/** The tenants with due work in one class, longest waiting first: two index steps for each. */
async function dueTenants(db: Reader, classRank: number, now: number): Promise<string[]> {
  // Ordered as that index is: asked for the least tenant alone, Postgres took the index of all calendars,
  // and read every one of a tenant that has none in this class.
  // In the words of the index's own condition, so that both planners recognise it.
  const isInClass = sql`account_state = 'connected' and due_at is not null
    and due_class = ${classRank}`;
  const { rows } = await sql<{ tenant_id: string }>`
    with recursive tenants (tenant_id) as (
      select (select tenant_id from calendars where ${isInClass}
              order by tenant_id, due_at limit 1)
      union all
      select (select c.tenant_id from calendars as c
              where ${isInClass} and c.tenant_id > tenants.tenant_id
              order by c.tenant_id, c.due_at limit 1)
      from tenants where tenants.tenant_id is not null
    ),
    longest (tenant_id, due_at) as (
      select tenant_id, (select min(due_at) from calendars as c
                         where ${isInClass} and c.tenant_id = tenants.tenant_id)
      from tenants where tenant_id is not null
    )
    select tenant_id from longest where due_at <= ${now} order by due_at`.execute(db);
  return rows.map((row) => row.tenant_id);
}

/** Calendars due and not queued, by class. */
export async function countBacklog(
  database: Database,
  now: number,
): Promise<Readonly<Record<RequestClass, number>>> {
  return database.snapshot(async (trx) => {
    const counts = { interactive: 0, push: 0, poll: 0, backfill: 0 };
    for (const name of REQUEST_CLASSES) {
      counts[name] = await countClass(trx, rankOfClass(name), now);
    }
    return counts;
  });
}

async function countClass(trx: Trx, classRank: number, now: number): Promise<number> {
  let total = 0;
  for (const tenant of await dueTenants(trx, classRank, now)) {
    if (total > BACKLOG_EXACT_TO) break;
    const { rows } = await sql<{ count: number }>`
      select count(*) as count from (
        select 1 from calendars
        where account_state = 'connected' and due_at <= ${now} and due_class = ${classRank}
          and tenant_id = ${tenant} and (queued_until is null or queued_until <= ${now})
          and (lease_until is null or lease_until <= ${now})
        limit ${sql.lit(BACKLOG_EXACT_TO + 1)}
      ) as due`.execute(trx);
    total += rows[0]?.count ?? 0;
  }
  return total;
}
