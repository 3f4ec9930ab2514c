import { setTimeout as delay } from "node:timers/promises";
import { Kysely, PostgresDialect } from "kysely";
import { Pool, TypeOverrides, types, type PoolClient } from "pg";
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
    // Its vacuum, its WAL and its backups are the server's.
    scrub: () => Promise.resolve("left-to-vacuum"),
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
    // Ours are short statements, some with a high estimate: compiling one took a second, running it milliseconds.
    options: "-c jit=off",
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
  // A connection that is lost says so to whoever waits for its answer, and as an event besides: of an
  // idle one through the pool, of one in use by itself. Unheard, either would end the process (I10).
  pool.on("error", ignoreLoss);
  pool.on("connect", (client) => {
    client.on("error", ignoreLoss);
    hangUpWhenUnanswered(client);
  });
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
}

// Counters and epoch milliseconds fit a number; pg would give text.
function numbersForBigints(): TypeOverrides {
  const overrides = new TypeOverrides();
  overrides.setTypeParser(types.builtins.INT8, Number);
  return overrides;
}

/**
 * A connection whose answer did not come in time is closed. pg would keep it, with the unanswered
 * statement ahead of all later ones: after a network that swallows packets (no word that anything is
 * lost) every use of it would fail until the system gives the connection up, a quarter of an hour later.
 */
function hangUpWhenUnanswered(client: PoolClient): void {
  const query = client.query.bind(client);
  const watched = async (...args: unknown[]): Promise<unknown> => {
    try {
      return await Reflect.apply(query, client, args);
    } catch (error) {
      // With a statement under way, `end` closes the socket at once.
      if (isUnanswered(error)) client.end().catch(ignoreLoss);
      throw error;
    }
  };
  Object.assign(client, { query: watched });
}

function isUnanswered(error: unknown): boolean {
  return error instanceof Error && error.message === "Query read timeout";
}

function ignoreLoss(): void {
  // The next statement reports what is wrong, if it still is.
}
