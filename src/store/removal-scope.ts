import { createHash } from "node:crypto";
import { sql, type RawBuilder, type Selectable, type SqlBool } from "kysely";
import { BeingRemoved } from "../core/removal-store.ts";
import type { Reader } from "./database.ts";
import { fromStoredText } from "./stored-text.ts";
import type { RemovalsTable } from "./leaving-tables.ts";

/** What tells which rows a removal takes. */
export type RemovalScope = Pick<
  Selectable<RemovalsTable>,
  "tenant_id" | "account_id" | "calendar_id"
>;

/** Of `calendars`: those that the removal takes. */
export function isCalendarOf(scope: RemovalScope): RawBuilder<SqlBool> {
  if (scope.calendar_id !== null) return sql<SqlBool>`calendars.id = ${scope.calendar_id}`;
  if (scope.account_id !== null) return sql<SqlBool>`calendars.account_id = ${scope.account_id}`;
  return sql<SqlBool>`calendars.tenant_id = ${scope.tenant_id}`;
}

/** Of `accounts`: those that the removal takes; of a calendar's none. */
export function isAccountOf(scope: RemovalScope): RawBuilder<SqlBool> {
  if (scope.calendar_id !== null) return sql<SqlBool>`1 = 0`;
  if (scope.account_id !== null) return sql<SqlBool>`accounts.id = ${scope.account_id}`;
  return sql<SqlBool>`accounts.tenant_id = ${scope.tenant_id}`;
}

/** The removal that takes this tenant, account or calendar, or what it belongs to. */
export async function findRemoval(
  db: Reader,
  of: RemovalScope,
): Promise<Selectable<RemovalsTable> | undefined> {
  return db
    .selectFrom("removals")
    .selectAll()
    .where("tenant_id", "=", of.tenant_id)
    .where((where) =>
      where.or([
        where("kind", "=", "tenant"),
        ...(of.account_id === null
          ? []
          : [where.and([where("kind", "=", "account"), where("account_id", "=", of.account_id)])]),
        ...(of.calendar_id === null ? [] : [where("calendar_id", "=", of.calendar_id)]),
      ]),
    )
    .orderBy("asked_at")
    .limit(1)
    .executeTakeFirst();
}

/** Throws `BeingRemoved`. Under the tenant's lock, or a removal asked for at this moment is not seen. */
export async function requireStaying(
  db: Reader,
  of: { readonly tenant: string; readonly account: string | undefined; readonly name: string },
): Promise<void> {
  const running = await findRemoval(db, {
    tenant_id: of.tenant,
    account_id: of.account ?? null,
    calendar_id: null,
  });
  if (running === undefined) return;
  const tenant = fromStoredText(of.tenant);
  throw new BeingRemoved(
    running.kind === "tenant" ? `The tenant ${tenant}` : `The account ${of.name} of ${tenant}`,
  );
}

/** Names a calendar of an account without holding its id, which is an address. */
export function hashOfCalendar(accountId: string, googleId: string): string {
  return createHash("sha256").update(`${accountId}\n${googleId}`).digest("hex");
}
