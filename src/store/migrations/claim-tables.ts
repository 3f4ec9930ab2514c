import { sql, type RawBuilder } from "kysely";
import type { Dialect } from "../database.ts";
import { noteDueTriggers } from "./note-due.ts";

/** Create the tables that claims are made by, and what keeps them true. */
export function claimTables(dialect: Dialect): RawBuilder<unknown>[] {
  // As in the first step: compared bytewise on both databases.
  const key = dialect.name === "postgres" ? sql`text collate "C"` : sql`text`;
  return [
    // No foreign keys: checking one writes a lock into the wide row that these tables are there to spare.
    sql`create table queued_calendars (
      calendar_number bigint primary key,
      tenant_id ${key} not null,
      due_class bigint not null,
      queued_until bigint not null
    )`,
    sql`create table due_tenants (
      due_class bigint not null,
      tenant_id ${key} not null,
      look_at bigint not null,
      turns bigint not null default 0,
      given bigint not null default 0,
      primary key (due_class, tenant_id)
    )`,
    sql`create index due_tenants_in_turn on due_tenants (due_class, look_at, turns, tenant_id)`,
    sql`create table due_notes (
      number ${dialect.serialKey},
      due_class bigint not null,
      tenant_id ${key} not null,
      look_at bigint not null
    )`,
    ...noteDueTriggers(dialect),
  ];
}
