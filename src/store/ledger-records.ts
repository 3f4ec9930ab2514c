import { sql } from "kysely";
import { epochMs } from "../core/clock.ts";
import type { LedgerRecord } from "../core/ledger-record.ts";
import type { Database } from "./database.ts";

/** What the database keeps of the ledger: a row a project for its epoch, a row a day for what is spent. */
export function createLedgerRecord(deps: { readonly database: Database }): LedgerRecord {
  return { ...epochs(deps.database), ...days(deps.database) };
}

function epochs(database: Database): Pick<LedgerRecord, "readEpoch" | "beginEpoch" | "closeEpoch"> {
  return {
    async readEpoch(projectId) {
      const row = await database.read((db) =>
        db
          .selectFrom("ledger_epochs")
          .selectAll()
          .where("project_id", "=", projectId)
          .executeTakeFirst(),
      );
      if (row === undefined) return undefined;
      const { closed_at: closedAt, closed_sequence: sequence } = row;
      return {
        number: row.number,
        epoch: row.epoch,
        openedAt: epochMs(row.opened_at),
        closed:
          closedAt === null || sequence === null ? undefined : { at: epochMs(closedAt), sequence },
      };
    },
    beginEpoch: (projectId, { after, number, epoch, at }) =>
      database.write(async (trx) => {
        const row = { number, epoch, opened_at: at, closed_at: null, closed_sequence: null };
        // Compare and set in one statement: of two processes that read the same last epoch, one wins.
        const written =
          after === 0
            ? await trx
                .insertInto("ledger_epochs")
                .values({ project_id: projectId, ...row })
                .onConflict((conflict) => conflict.column("project_id").doNothing())
                .returning("number")
                .executeTakeFirst()
            : await trx
                .updateTable("ledger_epochs")
                .set(row)
                .where("project_id", "=", projectId)
                .where("number", "=", after)
                .returning("number")
                .executeTakeFirst();
        return written !== undefined;
      }),
    closeEpoch: (projectId, { number, at, sequence }) =>
      database.write(async (trx) => {
        await trx
          .updateTable("ledger_epochs")
          .set({ closed_at: at, closed_sequence: sequence })
          .where("project_id", "=", projectId)
          .where("number", "=", number)
          .execute();
      }),
  };
}

function days(database: Database): Pick<LedgerRecord, "readDay" | "saveDay"> {
  return {
    async readDay(projectId) {
      const row = await database.read((db) =>
        db
          .selectFrom("ledger_days")
          .selectAll()
          .where("project_id", "=", projectId)
          .orderBy("day_started_at", "desc")
          .limit(1)
          .executeTakeFirst(),
      );
      if (row === undefined) return undefined;
      return {
        dayStartedAt: epochMs(row.day_started_at),
        count: row.spent,
        ledgerAt: epochMs(row.ledger_at),
      };
    },
    saveDay: (projectId, day) =>
      database.write(async (trx) => {
        await sql`
          insert into ledger_days (project_id, day_started_at, spent, ledger_at)
          values (${projectId}, ${day.dayStartedAt}, ${day.count}, ${day.ledgerAt})
          on conflict (project_id, day_started_at) do update
          set spent = excluded.spent, ledger_at = excluded.ledger_at
          where excluded.spent >= ledger_days.spent`.execute(trx);
      }),
  };
}
