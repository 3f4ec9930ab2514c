import { sql, type RawBuilder } from "kysely";
import { tenantId } from "../core/ids.ts";
import { COUNTED_EVENTS, type RemovalPreview, type RemovalTarget } from "../core/removal-store.ts";
import type { Database, Trx } from "./database.ts";
import { isAccountOf, isCalendarOf, type RemovalScope } from "./removal-scope.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

/** What a removal would take away; undefined: there is nothing of that name. */
export async function previewRemoval(
  database: Database,
  target: RemovalTarget,
): Promise<RemovalPreview | undefined> {
  return database.snapshot(async (trx) => {
    const scope = await scopeOf(trx, target);
    if (scope === undefined) return undefined;
    const ofCalendars = sql`select calendars.id from calendars where ${isCalendarOf(scope)}`;
    const numbers = sql`select calendars.number from calendars where ${isCalendarOf(scope)}`;
    return {
      tenantId: tenantId(fromStoredText(scope.tenant_id)),
      accounts: await count(trx, sql`select 1 from accounts where ${isAccountOf(scope)}`),
      calendars: await count(trx, ofCalendars),
      events: await count(
        trx,
        sql`select 1 from events where calendar_number in (${numbers}) limit ${sql.lit(COUNTED_EVENTS)}`,
      ),
      channels: await count(trx, sql`select 1 from channels where calendar_id in (${ofCalendars})`),
      apiTokens:
        target.kind === "tenant"
          ? await count(trx, sql`select 1 from api_tokens where tenant_id = ${scope.tenant_id}`)
          : 0,
    };
  });
}

async function count(trx: Trx, rows: RawBuilder<unknown>): Promise<number> {
  const { rows: counted } = await sql<{
    n: number;
  }>`select count(*) as n from (${rows}) as counted`.execute(trx);
  return counted[0]?.n ?? 0;
}

async function scopeOf(trx: Trx, target: RemovalTarget): Promise<RemovalScope | undefined> {
  switch (target.kind) {
    case "tenant": {
      const row = await trx
        .selectFrom("tenants")
        .select("id")
        .where("id", "=", toStoredText(target.tenantId))
        .executeTakeFirst();
      return row && { tenant_id: row.id, account_id: null, calendar_id: null };
    }
    case "account": {
      const row = await trx
        .selectFrom("accounts")
        .select(["id", "tenant_id"])
        .where("id", "=", toStoredText(target.accountId))
        .executeTakeFirst();
      return row && { tenant_id: row.tenant_id, account_id: row.id, calendar_id: null };
    }
    case "calendar": {
      const row = await trx
        .selectFrom("calendars")
        .select(["id", "tenant_id", "account_id"])
        .where("id", "=", toStoredText(target.calendarId))
        .executeTakeFirst();
      return row && { tenant_id: row.tenant_id, account_id: row.account_id, calendar_id: row.id };
    }
  }
}
