import { sql } from "kysely";
import type { Dialect } from "./database.ts";
import { tenantsToLookAt } from "./due-tenants.ts";
import { isNotQueued } from "./queued-calendars.ts";

/** Fleet-wide locks of ours; the first number sets them apart from other programs'. */
const LOCK_SPACE = 0x62616c6c;
const LOCKS = { migrate: 1, claim: 2, usage: 3, grants: 4 } as const;
const LOCK_SPACE_OF = { changes: LOCK_SPACE + 1 } as const;

// With the keys' own collation, or their index would not serve.
const TYPES = { text: 'text collate "C"', bigint: "bigint" } as const;

/** What Postgres does its own way. */
export const postgresDialect: Dialect = {
  name: "postgres",
  forUpdate: sql`for update`,
  forUpdateOfFree: sql`for update skip locked`,
  async excludeOthers(trx, name) {
    await sql`select pg_advisory_xact_lock(${sql.lit(LOCK_SPACE)}, ${sql.lit(LOCKS[name])})`.execute(
      trx,
    );
  },
  // Tenants whose names hash alike wait for each other now and then, which is all that happens.
  async excludeOthersOf(trx, { what, of }) {
    await sql`select pg_advisory_xact_lock(${sql.lit(LOCK_SPACE_OF[what])}, hashtext(${of}))`.execute(
      trx,
    );
  },
  rowsFrom(rows, columns) {
    const shape = Object.entries(columns).map(
      ([name, type]) => sql`${sql.ref(name)} ${sql.raw(TYPES[type])}`,
    );
    return sql`json_to_recordset(${JSON.stringify(rows)}::json) as r(${sql.join(shape)})`;
  },
  // Nothing is locked: a lock would write each of these wide rows. The limit is written out for the planner, which
  // takes an unknown one for a tenth of the tenant's calendars; the outer one is what each is asked for.
  dueCalendars: (asks, due) => sql`
    select c.number, c.id, c.tenant_id, c.due_at
    from json_to_recordset(${JSON.stringify(asks)}::json) as ask(tenant text, take bigint)
    cross join lateral (
      select few.number, few.id, few.tenant_id, few.due_at from (
        select number, id, tenant_id, due_at from calendars
        where account_state = 'connected' and due_at is not null and due_class = ${due.classRank}
          and tenant_id = ask.tenant collate "C" and due_at <= ${due.now}
          and (lease_until is null or lease_until <= ${due.now})
          and ${isNotQueued(due)}
        order by due_at
        limit ${sql.lit(Math.max(...asks.map((ask) => ask.take)))}
      ) as few
      limit ask.take
    ) as c`,
  allDueCalendars: (due, most) => sql`
    select c.number from ${tenantsToLookAt(due)} as d
    cross join lateral (
      select number from calendars
      where account_state = 'connected' and due_at is not null and due_class = ${due.classRank}
        and tenant_id = d.tenant_id and due_at <= ${due.now}
        and (lease_until is null or lease_until <= ${due.now})
        and ${isNotQueued(due)}
      order by due_at
      limit ${sql.lit(most)}
    ) as c
    limit ${sql.lit(most)}`,
  // Its vacuum reuses the space in its own time.
  overwriteDeleted: () => Promise.resolve(),
  serialKey: sql`bigint generated always as identity primary key`,
  async estimateRows(db, table) {
    const { rows } = await sql<{ n: number }>`
      select greatest(reltuples, 0)::bigint as n from pg_class where oid = to_regclass(${table})`.execute(
      db,
    );
    return rows[0]?.n ?? 0;
  },
  async isEmpty(db) {
    const { rows } = await sql`
      select 1 from pg_class where relnamespace = current_schema()::regnamespace limit 1`.execute(
      db,
    );
    return rows.length === 0;
  },
  async hasTable(db, table) {
    const { rows } = await sql`select 1 where to_regclass(${table}) is not null`.execute(db);
    return rows.length > 0;
  },
};
