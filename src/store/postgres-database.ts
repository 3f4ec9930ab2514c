import { setTimeout as delay } from "node:timers/promises";
import { Kysely, PostgresDialect } from "kysely";
import { Pool, TypeOverrides, types } from "pg";
import type { Database } from "./database.ts";
import { postgresDialect } from "./postgres-dialect.ts";
import { isCollision, translateError } from "./store-errors.ts";
import type { Tables } from "./tables.ts";

/*
 * Two pools, so that readers have connections whatever the writers do (I13). Every statement has a
 * limit on the server's side; a connection that cannot be had in time is a refusal, not a wait.
 */

const WRITERS = 10;
const READERS = 4;
const CONNECT_WITHIN_MS = 3_000;
const WRITE_STATEMENT_MS = 15_000;
const READ_STATEMENT_MS = 5_000;
const LOCK_WAIT_MS = 3_000;
/** How often a transaction that lost against another one is run again. */
const COLLISION_TRIES = 5;

/** Connects with the first statement. */
export function openPostgresDatabase(url: string): Database {
  const writer = kyselyOver(url, { max: WRITERS, statementMs: WRITE_STATEMENT_MS });
  const reader = kyselyOver(url, { max: READERS, statementMs: READ_STATEMENT_MS });
  return {
    dialect: postgresDialect,
    async write(run) {
      for (let tries = 1; ; tries += 1) {
        try {
          return await writer.transaction().execute(run);
        } catch (error) {
          if (!isCollision(error) || tries >= COLLISION_TRIES) throw translateError(error);
          await delay(Math.random() * 20 * tries);
        }
      }
    },
    async read(run) {
      try {
        return await run(reader);
      } catch (error) {
        throw translateError(error);
      }
    },
    async snapshot(run) {
      try {
        return await reader
          .transaction()
          .setIsolationLevel("repeatable read")
          .setAccessMode("read only")
          .execute(run);
      } catch (error) {
        throw translateError(error);
      }
    },
    async close() {
      await Promise.all([writer.destroy(), reader.destroy()]);
    },
  };
}

function kyselyOver(
  url: string,
  limits: { readonly max: number; readonly statementMs: number },
): Kysely<Tables> {
  const pool = new Pool({
    connectionString: url,
    application_name: "ballast",
    max: limits.max,
    connectionTimeoutMillis: CONNECT_WITHIN_MS,
    statement_timeout: limits.statementMs,
    // The server may be unable to answer at all: give up a little after it should have.
    query_timeout: limits.statementMs + 2_000,
    lock_timeout: LOCK_WAIT_MS,
    idle_in_transaction_session_timeout: limits.statementMs,
    keepAlive: true,
    types: numbersForBigints(),
  });
  // An idle connection that the server ends is replaced at the next use; unheard, it would end us.
  pool.on("error", ignoreIdleLoss);
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
}

// Counters and epoch milliseconds fit a number; pg would give text.
function numbersForBigints(): TypeOverrides {
  const overrides = new TypeOverrides();
  overrides.setTypeParser(types.builtins.INT8, Number);
  return overrides;
}

function ignoreIdleLoss(): void {
  // The next statement reports what is wrong, if it still is.
}
