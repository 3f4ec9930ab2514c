import { sql } from "kysely";
import type { Dialect } from "./database.ts";
import { tenantsToLookAt } from "./due-tenants.ts";
import { isNotQueued } from "./queued-calendars.ts";

/** What SQLite does its own way. */
export const sqliteDialect: Dialect = {
  name: "sqlite",
  forUpdate: sql``,
  forUpdateOfFree: sql``,
  // BEGIN IMMEDIATE has excluded every other writer already.
  excludeOthers: () => Promise.resolve(),
  excludeOthersOf: () => Promise.resolve(),
  rowsFrom(rows, columns) {
    const selected = Object.keys(columns).map(
      (name) => sql`value ->> ${sql.lit(`$.${name}`)} as ${sql.ref(name)}`,
    );
    return sql`(select ${sql.join(selected)} from json_each(${JSON.stringify(rows)})) as r`;
  },
  dueCalendars: (asks, due) => sql`
    select c.number, c.id, c.tenant_id, c.due_at
    from json_each(${JSON.stringify(asks)}) as ask
    cross join calendars as c on c.number in (
      select number from calendars
      where due_class = ${due.classRank} and tenant_id = ask.value ->> '$.tenant'
        and due_at <= ${due.now} and account_state = 'connected'
        and (lease_until is null or lease_until <= ${due.now})
        and ${isNotQueued(due)}
      order by due_at
      limit ${Math.max(...asks.map((ask) => ask.take))}
    )`,
  allDueCalendars: (due, most) => sql`
    select c.number from ${tenantsToLookAt(due)} as d
    cross join calendars as c
    where c.due_class = ${due.classRank} and c.tenant_id = d.tenant_id
      and c.due_at <= ${due.now} and c.account_state = 'connected'
      and (c.lease_until is null or c.lease_until <= ${due.now})
      and c.${isNotQueued(due)}
    limit ${most}`,
  async overwriteDeleted(trx) {
    // Of the connection, from now on: freed pages are overwritten, too.
    await sql`pragma secure_delete = on`.execute(trx);
  },
  serialKey: sql`integer primary key autoincrement`,
  async estimateRows(db, table) {
    const { rows } = await sql<{
      n: number;
    }>`select count(*) as n from ${sql.table(table)}`.execute(db);
    return rows[0]?.n ?? 0;
  },
  async isEmpty(db) {
    const { rows } = await sql`select 1 from sqlite_schema limit 1`.execute(db);
    return rows.length === 0;
  },
  async hasTable(db, table) {
    const { rows } = await sql`
      select 1 from sqlite_schema where type = 'table' and name = ${table}`.execute(db);
    return rows.length > 0;
  },
};
