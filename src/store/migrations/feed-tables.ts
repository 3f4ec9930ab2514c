import { sql, type RawBuilder } from "kysely";
import type { Dialect } from "../database.ts";

/** Create the feed of changes, and whom it is sent to. */
export function feedTables(dialect: Dialect): RawBuilder<unknown>[] {
  // As in the first step: compared bytewise on both databases.
  const key = dialect.name === "postgres" ? sql`text collate "C"` : sql`text`;
  return [
    // No foreign key: checking it would wait for whoever holds the tenant, who waits for its feed's lock.
    sql`create table changes (
      sequence ${dialect.serialKey},
      tenant_id ${key} not null,
      account_id ${key} not null,
      calendar_id ${key},
      event_key ${key},
      kind text not null,
      generation bigint not null,
      at bigint not null,
      account_state text,
      reason text
    )`,
    sql`create index changes_of_tenant on changes (tenant_id, sequence)`,
    sql`create index changes_at on changes (at)`,
    sql`create table webhooks (
      tenant_id ${key} primary key references tenants (id),
      url text not null,
      secret_sealed text not null,
      secret_key text not null,
      position bigint not null,
      due_at bigint not null,
      lease_until bigint,
      fence bigint not null default 0,
      failures bigint not null default 0,
      failing_since bigint,
      last_failure text,
      disabled_reason text,
      delivered_at bigint,
      created_at bigint not null,
      created_by text not null
    )`,
  ];
}
