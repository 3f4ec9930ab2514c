import { sql, type RawBuilder, type Selectable } from "kysely";
import { accountName, budgetAccount, tenantId } from "../core/ids.ts";
import { OTHER } from "../core/usage-store.ts";
import type { Database, Trx } from "./database.ts";
import { isAccountOf, isCalendarOf, type RemovalScope } from "./removal-scope.ts";
import { fromStoredText } from "./stored-text.ts";
import type { RemovalsTable } from "./leaving-tables.ts";

/*
 * Rows go in the order in which they refer to each other, each call going on where the last one stopped, because what
 * it looks for first is gone: events of calendars → calendars → accounts → what names the tenant. Every table that
 * has a tenant, an account or a calendar is named here, or a test that walks them all finds what was forgotten.
 */

interface Erasing {
  readonly database: Database;
  readonly trx: Trx;
}

type Removal = RemovalScope & Pick<Selectable<RemovalsTable>, "kind">;

/** Calendars whose rows are erased together. */
const CALENDARS_AT_ONCE = 50;
const PERIODS_AT_ONCE = 100;

/** By the calendar's number, in tables with any number of rows for each. */
const MANY_OF_CALENDAR = ["events", "staged_events"] as const;
/** A bounded number of rows for each calendar. */
const FEW_OF_CALENDAR = ["refresh_history", "queued_calendars"] as const;
const OF_TENANT = ["api_tokens", "webhooks", "due_notes", "due_tenants", "tenants"] as const;

/** Erase at most about `limit` rows; how many. Zero: nothing of it is left. */
export async function eraseRows(place: Erasing, removal: Removal, limit: number): Promise<number> {
  await place.database.dialect.overwriteDeleted(place.trx);
  const steps = [eraseCalendars, eraseChanges, eraseAccounts, eraseUsage, eraseTenant] as const;
  for (const step of steps) {
    const erased = await step(place, removal, limit);
    if (erased > 0) return erased;
  }
  return 0;
}

async function eraseCalendars({ trx }: Erasing, removal: Removal, limit: number): Promise<number> {
  const rows = await trx
    .selectFrom("calendars")
    .select(["number", "id"])
    .where(isCalendarOf(removal))
    // Only what was marked: nobody works on it.
    .where("account_state", "=", "removed")
    .orderBy("number")
    .limit(CALENDARS_AT_ONCE)
    .execute();
  if (rows.length === 0) return 0;
  const numbers = sql.join(rows.map(({ number }) => sql`${number}`));
  const ids = rows.map(({ id }) => id);
  let erased = 0;
  for (const table of MANY_OF_CALENDAR) {
    erased += await deleteKeyed(trx, table, { numbers, limit: limit - erased });
    if (erased >= limit) return erased;
  }
  for (const table of FEW_OF_CALENDAR) {
    erased += await deleteWhere(trx, table, sql`calendar_number in (${numbers})`);
  }
  erased += await deleteWhere(trx, "channels", sql`calendar_id in (${sql.join(ids)})`);
  return erased + (await deleteWhere(trx, "calendars", sql`number in (${numbers})`));
}

async function deleteKeyed(
  trx: Trx,
  table: (typeof MANY_OF_CALENDAR)[number],
  { numbers, limit }: { readonly numbers: RawBuilder<unknown>; readonly limit: number },
): Promise<number> {
  const { numAffectedRows = 0n } = await sql`
    delete from ${sql.table(table)} where (calendar_number, event_key) in (
      select calendar_number, event_key from ${sql.table(table)}
      where calendar_number in (${numbers}) limit ${limit})`.execute(trx);
  return Number(numAffectedRows);
}

async function deleteWhere(
  trx: Trx,
  table: string,
  condition: RawBuilder<unknown>,
): Promise<number> {
  const { numAffectedRows = 0n } =
    await sql`delete from ${sql.table(table)} where ${condition}`.execute(trx);
  return Number(numAffectedRows);
}

/** What the feed told of it, but for the last word: that it is gone. */
function eraseChanges({ trx }: Erasing, removal: Removal, limit: number): Promise<number> {
  const { tenant_id: tenant, account_id: account, calendar_id: calendar } = removal;
  const isTold =
    calendar !== null
      ? sql`calendar_id = ${calendar} and kind <> 'calendar-removed'`
      : account !== null
        ? sql`account_id = ${account} and kind not in ('calendar-removed', 'account-removed')`
        : sql`true`;
  return deleteWhere(
    trx,
    "changes",
    sql`sequence in (
      select sequence from changes where tenant_id = ${tenant} and ${isTold} limit ${limit})`,
  );
}

async function eraseAccounts({ trx }: Erasing, removal: Removal, limit: number): Promise<number> {
  const rows = await trx
    .selectFrom("accounts")
    .select(["id", "project_id", "tenant_id", "name"])
    .where(isAccountOf(removal))
    .where("connection", "=", "removed")
    .orderBy("id")
    .limit(limit)
    .execute();
  if (rows.length === 0) return 0;
  const ids = sql.join(rows.map(({ id }) => id));
  // An operator's pause of it, by the name that the budget knows it by.
  const pauses = rows.map((row) => {
    const tenant = tenantId(fromStoredText(row.tenant_id));
    const target = budgetAccount(tenant, accountName(fromStoredText(row.name)));
    return `pause.${fromStoredText(row.project_id)}.account:${target}`;
  });
  const excluded = await deleteWhere(trx, "excluded_calendars", sql`account_id in (${ids})`);
  const paused = await deleteWhere(trx, "settings", sql`name in (${sql.join(pauses)})`);
  return excluded + paused + (await deleteWhere(trx, "accounts", sql`id in (${ids})`));
}

/**
 * Who used the quota is a sum over tenants: what this one used is counted under nobody's name from here on, so that
 * the sums stay true.
 */
async function eraseUsage({ database, trx }: Erasing, removal: Removal): Promise<number> {
  if (removal.kind !== "tenant") return 0;
  await database.dialect.excludeOthers(trx, "usage");
  for (const spanMs of SPANS_MS) {
    const periods = await periodsOf(trx, spanMs, removal.tenant_id);
    if (periods.length === 0) continue;
    const isTheirs = sql`span_ms = ${sql.lit(spanMs)} and tenant_id = ${removal.tenant_id}
      and starts_at in (${sql.join(periods)})`;
    await sql`
      insert into usage_rollups (span_ms, starts_at, project_id, tenant_id, ${REST}, requests)
      select span_ms, starts_at, project_id, ${sql.lit(OTHER)}, ${REST}, requests
      from usage_rollups where ${isTheirs}
      on conflict (span_ms, starts_at, project_id, tenant_id, ${REST})
      do update set requests = usage_rollups.requests + excluded.requests`.execute(trx);
    return deleteWhere(trx, "usage_rollups", isTheirs);
  }
  return 0;
}

const SPANS_MS = [60_000, 15 * 60_000] as const;
const REST = sql.raw("consumer, class, operation, attempt, outcome, reason");

/** A step along the index for each period, and one for each to see whether the tenant is in it. */
async function periodsOf(trx: Trx, spanMs: number, tenant: string): Promise<readonly number[]> {
  const span = sql.lit(spanMs);
  const { rows } = await sql<{ starts_at: number }>`
    with recursive periods (starts_at) as (
      select (select min(starts_at) from usage_rollups where span_ms = ${span})
      union all
      select (select min(u.starts_at) from usage_rollups as u
              where u.span_ms = ${span} and u.starts_at > periods.starts_at)
      from periods where periods.starts_at is not null
    )
    select starts_at from periods
    where starts_at is not null and exists (
      select 1 from usage_rollups as u
      where u.span_ms = ${span} and u.starts_at = periods.starts_at
        and u.project_id in (select id from projects) and u.tenant_id = ${tenant})
    limit ${sql.lit(PERIODS_AT_ONCE)}`.execute(trx);
  return rows.map(({ starts_at: at }) => at);
}

async function eraseTenant({ trx }: Erasing, removal: Removal): Promise<number> {
  if (removal.kind !== "tenant") return 0;
  const tenant = removal.tenant_id;
  const name = fromStoredText(tenant);
  // Weights, caps and pauses: `quota.PROJECT.tenant:T`, `pause.PROJECT.tenant:T`.
  const { rows: projects } = await sql<{ id: string }>`select id from projects`.execute(trx);
  const settings = projects.flatMap(({ id }) =>
    ["quota", "pause"].map((kind) => `${kind}.${fromStoredText(id)}.tenant:${name}`),
  );
  let erased =
    settings.length === 0
      ? 0
      : await deleteWhere(trx, "settings", sql`name in (${sql.join(settings)})`);
  for (const table of OF_TENANT) {
    const key = table === "tenants" ? "id" : "tenant_id";
    erased += await deleteWhere(trx, table, sql`${sql.ref(key)} = ${tenant}`);
  }
  return erased;
}
