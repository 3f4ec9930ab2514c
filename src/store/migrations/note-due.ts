import { sql, type RawBuilder } from "kysely";
import { REQUEST_CLASSES } from "../../core/request.ts";
import type { Dialect } from "../database.ts";

/*
 * What makes a calendar claimable sooner leaves a note for the claimers (`../due-tenants.ts`). By triggers: it is
 * true of every statement then, whoever writes it. What makes it claimable later, as the refresh of a poll
 * does from its beginning to its publish, writes nothing.
 */

const WATCH_KIND = REQUEST_CLASSES.length;

const isDue = (row: string): string =>
  `${row}.account_state = 'connected' and ${row}.due_at is not null`;
const isWatchDue = (row: string): string =>
  `${row}.account_state = 'connected' and ${row}.watch_due_at is not null`;
const WATCH_IS_SOONER = `${isWatchDue("new")} and (old.account_state <> 'connected'
  or old.watch_due_at is null or new.watch_due_at < old.watch_due_at)`;

/** `claimableAt`: of a `ROW`, the later one of when it is due and when its lease ends, if it has one. */
function isSooner(claimableAt: string): string {
  const of = (row: string): string => claimableAt.replaceAll("ROW", row);
  return `${isDue("new")} and (old.account_state <> 'connected' or old.due_at is null
    or new.due_class <> old.due_class or ${of("new")} < ${of("old")})`;
}

/** Create the triggers. */
export function noteDueTriggers(dialect: Dialect): RawBuilder<unknown>[] {
  const statements = dialect.name === "postgres" ? onPostgres() : onSqlite();
  return statements.map((statement) => sql.raw(statement));
}

function onSqlite(): readonly string[] {
  const claimableAt = "max(ROW.due_at, coalesce(ROW.lease_until, 0))";
  const work = noteOnSqlite("new.due_class", "new.due_at");
  const watch = noteOnSqlite(String(WATCH_KIND), "new.watch_due_at");
  return [
    `create trigger calendars_added after insert on calendars when ${isDue("new")} ${work}`,
    `create trigger calendars_sooner after update of account_state, due_at, due_class, lease_until
      on calendars when ${isSooner(claimableAt)} ${work}`,
    `create trigger calendars_watch_added after insert on calendars
      when ${isWatchDue("new")} ${watch}`,
    `create trigger calendars_watch_sooner after update of account_state, watch_due_at
      on calendars when ${WATCH_IS_SOONER} ${watch}`,
  ];
}

function noteOnSqlite(kind: string, at: string): string {
  return `begin insert into due_notes (due_class, tenant_id, look_at)
    values (${kind}, new.tenant_id, ${at}); end`;
}

const INSERT = "insert into due_notes (due_class, tenant_id, look_at)";

// An update asks each row's own condition first, and calls nothing where it does not hold. An insert is noted as a
// whole: it may bring a million.
function onPostgres(): readonly string[] {
  const claimableAt = "greatest(ROW.due_at, ROW.lease_until)";
  return [
    routine(
      "note_added",
      `${INSERT} select due_class, tenant_id, min(due_at) from added
         where ${isDue("added")} group by due_class, tenant_id;
       ${INSERT} select ${String(WATCH_KIND)}, tenant_id, min(watch_due_at) from added
         where ${isWatchDue("added")} group by tenant_id;`,
    ),
    `create trigger calendars_added after insert on calendars
      referencing new table as added for each statement execute function note_added()`,
    routine("note_sooner", `${INSERT} values (new.due_class, new.tenant_id, new.due_at);`),
    `create trigger calendars_sooner after update of account_state, due_at, due_class, lease_until
      on calendars for each row when (${isSooner(claimableAt)}) execute function note_sooner()`,
    routine(
      "note_watch_sooner",
      `${INSERT} values (${String(WATCH_KIND)}, new.tenant_id, new.watch_due_at);`,
    ),
    `create trigger calendars_watch_sooner after update of account_state, watch_due_at
      on calendars for each row when (${WATCH_IS_SOONER}) execute function note_watch_sooner()`,
  ];
}

function routine(name: string, body: string): string {
  return `create function ${name}() returns trigger language plpgsql as $$
    begin ${body} return null; end $$`;
}
