import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import type { SqliteDatabase, SqliteStatement } from "kysely";

/** Statements kept compiled; the store's SQL texts are few, so this is a bound, not a policy. */
const MAX_STATEMENTS = 400;

interface NodeSqliteOptions {
  readonly path: string;
  readonly readOnly: boolean;
  /** How long SQLite itself may wait, blocking the event loop. */
  readonly busyTimeoutMs: number;
}

/** `node:sqlite` in the shape of better-sqlite3, which Kysely's SQLite dialect is written for. */
export function openNodeSqlite(options: NodeSqliteOptions): SqliteDatabase & {
  exec(sql: string): void;
} {
  const database = new DatabaseSync(options.path, {
    readOnly: options.readOnly,
    timeout: options.busyTimeoutMs,
    enableForeignKeyConstraints: true,
  });
  const statements = new Map<string, SqliteStatement>();
  return {
    exec: (sql) => {
      database.exec(sql);
    },
    close: () => {
      statements.clear();
      database.close();
    },
    prepare(sql) {
      const known = statements.get(sql);
      if (known !== undefined) return known;
      const statement = wrap(database.prepare(sql));
      const oldest = statements.size >= MAX_STATEMENTS ? statements.keys().next().value : undefined;
      if (oldest !== undefined) statements.delete(oldest);
      statements.set(sql, statement);
      return statement;
    },
  };
}

function wrap(statement: StatementSync): SqliteStatement {
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...parameters.map(toInput)),
    run: (parameters) => statement.run(...parameters.map(toInput)),
    iterate: (parameters) => statement.iterate(...parameters.map(toInput)),
  };
}

function toInput(value: unknown): SQLInputValue {
  if (value === null || typeof value === "string" || typeof value === "number") return value;
  if (typeof value === "bigint" || value instanceof Uint8Array) return value;
  throw new TypeError(`A ${typeof value} cannot be bound to a statement`);
}
