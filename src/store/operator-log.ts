import { z } from "zod";
import { epochMs } from "../core/clock.ts";
import type { OperatorEntry, OperatorLog } from "../core/operator-log.ts";
import type { Database, Trx } from "./database.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

const MAX_LIST = 1_000;
const detailsSchema = z.record(
  z.string(),
  z.union([z.string(), z.number(), z.boolean(), z.null()]),
);

/** The append-only record, in the database. */
export function createOperatorLog(deps: { readonly database: Database }): OperatorLog {
  const { database } = deps;
  return {
    append: (entry) => database.write((trx) => appendEntry(trx, entry)),
    async list({ before, limit }) {
      const rows = await database.read((db) =>
        db
          .selectFrom("operator_log")
          .selectAll()
          .$if(before !== undefined, (query) => query.where("sequence", "<", before ?? 0))
          .orderBy("sequence", "desc")
          .limit(Math.min(Math.max(limit, 1), MAX_LIST))
          .execute(),
      );
      return rows.map((row) => ({
        sequence: row.sequence,
        at: epochMs(row.at),
        actor: fromStoredText(row.actor),
        action: row.action,
        subject: fromStoredText(row.subject),
        reason: row.reason === null ? undefined : fromStoredText(row.reason),
        details: detailsSchema.parse(JSON.parse(row.details)),
      }));
    },
  };
}

/** Write one entry in the transaction of what it records. */
export async function appendEntry(trx: Trx, entry: OperatorEntry): Promise<void> {
  await trx
    .insertInto("operator_log")
    .values({
      at: entry.at,
      actor: toStoredText(entry.actor),
      action: entry.action,
      subject: toStoredText(entry.subject),
      reason: entry.reason === undefined ? null : toStoredText(entry.reason),
      details: JSON.stringify(entry.details),
    })
    .execute();
}
