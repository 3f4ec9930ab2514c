import { DatabaseSync } from "node:sqlite";
import { sql } from "kysely";
import type { Database } from "../../../src/store/database.ts";
import { openPostgresDatabase } from "../../../src/store/postgres-database.ts";
import { openSqliteDatabase } from "../../../src/store/sqlite-database.ts";

/** The name under which a worker's Postgres connections are known. */
export const WORKER_NAME = "ballast-crash-worker";

/** Looks at the database from outside, to see what a worker that stands still was doing. */
export interface LookInside {
  /** Rises with every lease, by calendar. */
  fences(): Promise<ReadonlyMap<string, number>>;
  /** Calendars leased since then of which some pages are stored, but not all. */
  halfRead(since: ReadonlyMap<string, number>): Promise<number>;
  /** Whether the worker has a transaction open that writes. Nobody else may be writing. */
  isInTransaction(): Promise<boolean>;
  setPageSize(pageSize: number): Promise<void>;
  close(): Promise<void>;
}

/** Open it on a database that has its schema. */
export function openLookInside(databaseUrl: string): LookInside {
  const path = databaseUrl.startsWith("sqlite:") ? databaseUrl.slice("sqlite:".length) : undefined;
  const database =
    path === undefined ? openPostgresDatabase(databaseUrl) : openSqliteDatabase(path);
  const rows = () =>
    database.read((db) =>
      db.selectFrom("calendars").select(["id", "fence", "listing_kind", "lease_until"]).execute(),
    );
  return {
    fences: async () => new Map((await rows()).map(({ id, fence }) => [id, fence])),
    halfRead: async (since) =>
      (await rows()).filter(
        ({ id, fence, listing_kind: kind, lease_until: until }) =>
          kind !== null && until !== null && fence > (since.get(id) ?? 0),
      ).length,
    isInTransaction: () =>
      path === undefined ? isWritingToPostgres(database) : Promise.resolve(isLocked(path)),
    async setPageSize(pageSize) {
      await database.write((trx) =>
        trx.updateTable("calendars").set({ page_size: pageSize }).execute(),
      );
    },
    close: () => database.close(),
  };
}

async function isWritingToPostgres(database: Database): Promise<boolean> {
  const { rows } = await database.read((db) =>
    sql`
      select 1 from pg_stat_activity
      where datname = current_database() and application_name = ${WORKER_NAME}
        and (state like 'idle in transaction%' or backend_xid is not null)
    `.execute(db),
  );
  return rows.length > 0;
}

/** SQLite admits one writer: who cannot begin to write has met the other one. */
function isLocked(path: string): boolean {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec("begin immediate");
    database.exec("rollback");
    return false;
  } catch (error) {
    if (error instanceof Error && error.message.includes("database is locked")) return true;
    throw error;
  } finally {
    database.close();
  }
}
