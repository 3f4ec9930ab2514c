import { sql } from "kysely";
import { epochMs } from "../core/clock.ts";
import type { RefreshHistory, RefreshRun } from "../core/refresh-history.ts";
import { classOfRank, momentOf, rankOfClass } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { toStoredText } from "./stored-text.ts";

/** Kept of each calendar. */
const KEPT = 20;

/**
 * Keep how a refresh went, in the transaction that ends it. A lease's fence names it: no number of its
 * own is needed, and the oldest are forgotten by the same key.
 */
export async function noteRefresh(
  trx: Trx,
  of: { readonly number: number; readonly fence: number },
  past: RefreshRun & { readonly changes?: number },
): Promise<void> {
  const isPublished = past.code === undefined;
  await trx
    .insertInto("refresh_history")
    .values({
      calendar_number: of.number,
      fence: of.fence,
      at: past.at,
      kind: past.kind,
      class: rankOfClass(past.class),
      outcome: isPublished ? "published" : "postponed",
      code: past.code ?? null,
      changes: past.changes ?? 0,
      requests: past.requests,
    })
    .execute();
  await sql`
    delete from refresh_history where calendar_number = ${of.number} and fence <= (
      select fence from refresh_history where calendar_number = ${of.number}
      order by fence desc limit 1 offset ${sql.lit(KEPT)})`.execute(trx);
}

/** The last refreshes of each calendar, in the database. */
export function createRefreshHistory(deps: { readonly database: Database }): RefreshHistory {
  return {
    of: (calendarId) =>
      deps.database.snapshot(async (trx) => {
        const row = await trx
          .selectFrom("calendars")
          .select(["number", "lease_until", "last_failure_code"])
          .where("id", "=", toStoredText(calendarId))
          .executeTakeFirst();
        if (row === undefined) return undefined;
        const rows = await trx
          .selectFrom("refresh_history")
          .selectAll()
          .where("calendar_number", "=", row.number)
          .orderBy("fence", "desc")
          .limit(KEPT)
          .execute();
        return {
          leaseUntil: momentOf(row.lease_until),
          lastFailureCode: row.last_failure_code ?? undefined,
          refreshes: rows.map((past) => ({
            kind: past.kind,
            at: epochMs(past.at),
            class: classOfRank(past.class),
            outcome: past.outcome,
            code: past.code ?? undefined,
            changes: past.changes,
            requests: past.requests,
          })),
        };
      }),
  };
}
