import { setImmediate as nextTurn, setTimeout as delay } from "node:timers/promises";
import {
  Kysely,
  SqliteDialect,
  SqliteDriver,
  sql,
  type DatabaseConnection,
  type SqliteDatabase,
} from "kysely";
import { StoreUnavailable } from "../core/refusal.ts";
import type { Database } from "./database.ts";
import { openNodeSqlite } from "./node-sqlite.ts";
import { rewriteFile } from "./rewrite-file.ts";
import { sqliteDialect } from "./sqlite-dialect.ts";
import { driverError, isCollision, translateError } from "./store-errors.ts";
import type { Tables } from "./tables.ts";

/*
 * One SQLite file, several processes. States of the writing connection: idle → waiting (another
 * process writes; we ask again asynchronously, because SQLite's own wait blocks the event loop) →
 * writing → idle. Kysely's mutex admits one transaction of this process at a time. Reads have a
 * connection of their own: in WAL mode they never wait for a writer.
 */

/** Enough for a lock held while a file is opened or checkpointed; longer waits are ours, asynchronous. */
const BUSY_TIMEOUT_MS = 20;
/** How long a write waits for its turn before it gives up. */
const WRITE_DEADLINE_MS = 5_000;
/** Contention seen within this time makes this process leave gaps for the other one. */
const POLITE_FOR_MS = 1_000;
const POLITE_AFTER_MS = 10;
const POLITE_GAP_MS = 3;
const READ_TRIES = 50;
/** The WAL file shrinks back to this after a burst. */
const WAL_KEPT_BYTES = 64 * 1024 * 1024;
/** Longer than this no run of statements keeps the event loop to itself. */
const BREATH_EVERY_MS = 10;

/** Open the file, creating it where there is none. */
export function openSqliteDatabase(path: string): Database {
  const files = openFiles(path);
  const turn = createWriteTurn();
  const writer = new Kysely<Tables>({ dialect: dialectOver(files.writer, turn.begin) });
  const reader = new Kysely<Tables>({ dialect: dialectOver(files.reader, beginDeferred) });
  return {
    dialect: sqliteDialect,
    async write(run) {
      try {
        return await writer.transaction().execute(run);
      } catch (error) {
        throw translateError(error);
      } finally {
        turn.ended();
      }
    },
    read: (run) => untilRead(() => run(reader)),
    snapshot: (run) => untilRead(() => reader.transaction().execute(run)),
    scrub: () => rewriteFile(path),
    async close() {
      await reader.destroy();
      await writer.destroy();
      files.close();
    },
  };
}

/** A reader meets a lock only while another process recovers or resets the WAL: it tries again. */
async function untilRead<T>(read: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await read();
    } catch (error) {
      if (!isCollision(error) || tries >= READ_TRIES) throw translateError(error);
      await delay(tries);
    }
  }
}

function openFiles(path: string): {
  readonly writer: SqliteDatabase;
  readonly reader: SqliteDatabase;
  close(): void;
} {
  try {
    const writer = openNodeSqlite({ path, readOnly: false, busyTimeoutMs: 200 });
    writer.exec("pragma journal_mode = wal");
    writer.exec("pragma synchronous = full");
    // What is deleted is overwritten where that costs no write of its own.
    writer.exec("pragma secure_delete = fast");
    writer.exec(`pragma journal_size_limit = ${WAL_KEPT_BYTES}`);
    writer.exec(`pragma busy_timeout = ${BUSY_TIMEOUT_MS}`);
    // Opening may create the WAL's index file; only a writer can do that.
    const reader = openNodeSqlite({ path, readOnly: true, busyTimeoutMs: BUSY_TIMEOUT_MS });
    return {
      writer,
      reader,
      // Kysely closes only what it has used.
      close: () => {
        for (const file of [reader, writer]) closeOnce(file);
      },
    };
  } catch (error) {
    throw translateError(error);
  }
}

function closeOnce(file: SqliteDatabase): void {
  try {
    file.close();
  } catch (error) {
    if (driverError(error).code !== "ERR_INVALID_STATE") throw error;
  }
}

type Begin = (run: (statement: string) => Promise<unknown>) => Promise<void>;

function dialectOver(database: SqliteDatabase, begin: Begin): SqliteDialect {
  const dialect = new SqliteDialect({ database });
  dialect.createDriver = () => {
    const driver = new SqliteDriver({ database });
    const acquire = driver.acquireConnection.bind(driver);
    driver.acquireConnection = async () => breathing(await acquire());
    driver.beginTransaction = (connection) =>
      begin((statement) => connection.executeQuery(sql.raw(statement).compile(compiler)));
    return driver;
  };
  return dialect;
}

const withBreath = new WeakSet<DatabaseConnection>();
let lastBreathMs = 0;

/**
 * Statements run on the event loop's own thread, and promises alone never let it go: between two of
 * them it gets a turn whenever it has had none for a while.
 */
function breathing(connection: DatabaseConnection): DatabaseConnection {
  if (withBreath.has(connection)) return connection;
  withBreath.add(connection);
  const execute = connection.executeQuery.bind(connection);
  connection.executeQuery = async (...query) => {
    const nowMs = performance.now();
    if (nowMs - lastBreathMs > BREATH_EVERY_MS) {
      await nextTurn();
      lastBreathMs = performance.now();
    }
    return execute(...query);
  };
  return connection;
}

const compiler = new Kysely<Tables>({
  dialect: new SqliteDialect({ database: () => Promise.reject(new Error("Compiles only")) }),
});

const beginDeferred: Begin = async (run) => {
  await run("begin");
};

/** Takes turns with other processes on the same file, without blocking the event loop. */
function createWriteTurn(): { readonly begin: Begin; ended(): void } {
  let lastContentionMs = Number.NEGATIVE_INFINITY;
  let busySinceMs = 0;
  let lastEndMs = Number.NEGATIVE_INFINITY;

  // Without a gap the other process's next try would have to hit the microseconds between two of
  // our transactions.
  async function leaveGap(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - lastEndMs > 1) busySinceMs = nowMs;
    const isContended = nowMs - lastContentionMs < POLITE_FOR_MS;
    if (!isContended || nowMs - busySinceMs < POLITE_AFTER_MS) return;
    await delay(POLITE_GAP_MS);
    busySinceMs = performance.now();
  }

  return {
    async begin(run) {
      await leaveGap();
      const startMs = performance.now();
      for (;;) {
        try {
          await run("begin immediate");
          return;
        } catch (error) {
          if (!isCollision(error)) throw error;
          lastContentionMs = performance.now();
          if (lastContentionMs - startMs > WRITE_DEADLINE_MS) throw writerBusy(error);
          await delay(1);
        }
      }
    },
    ended() {
      lastEndMs = performance.now();
    },
  };
}

function writerBusy(cause: unknown): StoreUnavailable {
  return new StoreUnavailable({
    message: `Another process has been writing to the database for ${WRITE_DEADLINE_MS} ms. It is tried again; if it stays so, look for a second Ballast or a backup holding the file.`,
    retryAfterMs: 1_000,
    cause,
  });
}
