import { sql, type RawBuilder } from "kysely";
import { REQUEST_CLASSES } from "../../../src/core/request.ts";
import type { Database, Trx } from "../../../src/store/database.ts";

/** Who has how much to do. */
export interface PlannerShape {
  readonly calendars: number;
  readonly tenants: number;
  /** Overdue ones of one tenant, for longer than any other's. */
  readonly overdueOfOne: number;
  /** Overdue ones of each other tenant. */
  readonly overdueOfOthers: number;
}

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
/** Idle ones stay idle for as long as claims are measured. */
const LATER_MS = 12 * HOUR_MS;
const ROWS_AT_ONCE = 20_000;
const POLL_RANK = REQUEST_CLASSES.indexOf("poll");

/**
 * Fill a migrated database with calendars, inside the database. The first tenant has `overdueOfOne` overdue
 * calendars and every other tenant `overdueOfOthers`; the rest are idle: due some time within the next days.
 */
export async function generateCalendars(
  database: Database,
  shape: PlannerShape,
  now: number,
): Promise<void> {
  const { calendars, tenants } = shape;
  await database.write(async (trx) => {
    await sql`insert into projects (id, created_at) values ('default', 0)`.execute(trx);
    const numbers = numbersFrom(database, 0, tenants);
    const name = padded(database, "tenant-", sql`n.i`);
    const account = padded(database, "acc_", sql`n.i`);
    await sql`insert into tenants (id, created_at) select ${name}, 0 from ${numbers}`.execute(trx);
    await sql`
      insert into accounts (id, project_id, tenant_id, name, quota_user, connection, scopes,
        connected_at, discovery_reason)
      select ${account}, 'default', ${name}, 'ann', ${account}, 'connected', '[]', 0, 'none'
      from ${numbers}`.execute(trx);
  });
  for (let from = 0; from < calendars; from += ROWS_AT_ONCE) {
    const to = Math.min(calendars, from + ROWS_AT_ONCE);
    await database.write((trx) => insertCalendars({ database, trx }, shape, { from, to, now }));
    // One at a time, so that a million do not wait for the first claim.
    await database.write((trx) => foldNotes(trx));
  }
  for (const table of ["calendars", "due_tenants", "queued_calendars"]) {
    await database.write(async (trx) => {
      await sql`analyze ${sql.table(table)}`.execute(trx);
    });
  }
}

/** As claimers do with notes, all at once. */
async function foldNotes(trx: Trx): Promise<void> {
  await sql`
    insert into due_tenants (due_class, tenant_id, look_at)
    select due_class, tenant_id, min(look_at) from due_notes where true group by due_class, tenant_id
    on conflict (due_class, tenant_id) do update set look_at = excluded.look_at
      where excluded.look_at < due_tenants.look_at`.execute(trx);
  await trx.deleteFrom("due_notes").execute();
}

async function insertCalendars(
  { database, trx }: { readonly database: Database; readonly trx: Trx },
  { tenants, overdueOfOne, overdueOfOthers }: PlannerShape,
  rows: { readonly from: number; readonly to: number; readonly now: number },
): Promise<void> {
  const others = Math.max(1, tenants - 1);
  const overdue = overdueOfOne + (tenants - 1) * overdueOfOthers;
  // The first tenant for the big backlog, the others in turn.
  const tenant = sql`case when n.i < ${sql.lit(overdueOfOne)} then 0 else 1 + n.i % ${sql.lit(others)} end`;
  const dueAt = sql`case
    when n.i < ${sql.lit(overdueOfOne)} then ${sql.lit(rows.now - HOUR_MS)} - n.i % ${sql.lit(HOUR_MS)}
    when n.i < ${sql.lit(overdue)} then ${sql.lit(rows.now - 1)} - n.i % 1000
    else ${sql.lit(rows.now + LATER_MS)} + (n.i * 7919) % ${sql.lit(DAY_MS)} end`;
  await sql`
    insert into calendars (id, project_id, tenant_id, account_id, google_id, is_primary, is_hidden,
      account_state, generation, due_at, due_class, due_reason)
    select ${padded(database, "cal_", sql`n.i`)}, 'default', ${padded(database, "tenant-", tenant)},
      ${padded(database, "acc_", tenant)}, ${padded(database, "google-", sql`n.i`)}, 0, 0, 'connected',
      1,
      ${dueAt}, ${sql.lit(POLL_RANK)}, 'poll'
    from ${numbersFrom(database, rows.from, rows.to)}`.execute(trx);
}

/** A table `n(i)` of whole numbers from one to before another. */
function numbersFrom({ dialect }: Database, from: number, to: number): RawBuilder<unknown> {
  return dialect.name === "postgres"
    ? sql`generate_series(${sql.lit(from)}::bigint, ${sql.lit(to - 1)}) as n(i)`
    : sql`(with recursive r(i) as (
        select ${sql.lit(from)} union all select i + 1 from r where i < ${sql.lit(to - 1)}
      ) select i from r) as n`;
}

/** A name that ends in a number of nine digits. */
function padded(
  { dialect }: Database,
  prefix: string,
  number: RawBuilder<unknown>,
): RawBuilder<unknown> {
  return dialect.name === "postgres"
    ? sql`${sql.lit(prefix)} || lpad(cast(${number} as text), 9, '0')`
    : sql`${sql.lit(prefix)} || substr('00000000' || cast(${number} as text), -9)`;
}
