import { StoreUnavailable } from "../core/refusal.ts";
import { BeingRemoved } from "../core/removal-store.ts";

/** The database refused a statement of ours: a bug, or a damaged database. Trying again does not help. */
export class StoreFailed extends Error {
  override readonly name = "StoreFailed";
  readonly code = "BALLAST_STORE_FAILED";
}

/** The database's schema is not one that this build can run with. */
export class SchemaVersionUnsupported extends Error {
  override readonly name = "SchemaVersionUnsupported";
  readonly code = "BALLAST_SCHEMA_VERSION";
  readonly found: number;
  readonly supported: { readonly from: number; readonly to: number };

  constructor(found: number, supported: { readonly from: number; readonly to: number }) {
    const range = `this build runs with ${supported.from} to ${supported.to}`;
    super(
      found > supported.to
        ? `The database has schema version ${found}; ${range}. Use the build that migrated it, or a newer one.`
        : `The database has schema version ${found}; ${range}. Run \`ballast migrate plan\`, then \`ballast migrate apply\`.`,
    );
    this.found = found;
    this.supported = supported;
  }
}

const RETRY_SOON_MS = 1_000;

// Result codes of SQLite after which the same statement may succeed later: busy, locked, interrupted,
// i/o error, disk full, cannot open. https://www.sqlite.org/rescode.html
const SQLITE_PASSING = new Set([5, 6, 9, 10, 13, 14]);
const POSTGRES_PASSING =
  /^(08|53|57P|58)|^(57014|55P03|40001|40P01|25006|25P03|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ENOENT)/;
const POSTGRES_PASSING_MESSAGE =
  /timeout exceeded when trying to connect|Connection terminated|Query read timeout|Cannot use a pool after|not queryable/;

interface DriverError {
  readonly code: string | undefined;
  readonly sqliteCode: number | undefined;
  readonly message: string;
}

/** The parts of a driver's error that we decide by. */
export function driverError(error: unknown): DriverError {
  const { code, errcode, message } = {
    code: undefined,
    errcode: undefined,
    message: undefined,
    ...fields(error),
  };
  return {
    code: typeof code === "string" ? code : undefined,
    sqliteCode: typeof errcode === "number" ? errcode & 0xff : undefined,
    message: typeof message === "string" ? message : String(error),
  };
}

function fields(error: unknown): { code?: unknown; errcode?: unknown; message?: unknown } {
  if (!(error instanceof Error)) return {};
  const first: unknown = error instanceof AggregateError ? error.errors[0] : undefined;
  const inner = first instanceof Error ? first : error;
  return {
    message: inner.message === "" ? error.message : inner.message,
    ...("code" in inner ? { code: inner.code } : {}),
    ...("errcode" in inner ? { errcode: inner.errcode } : {}),
  };
}

function isPassing({ code, sqliteCode, message }: DriverError): boolean {
  if (sqliteCode !== undefined) return SQLITE_PASSING.has(sqliteCode);
  if (code !== undefined && POSTGRES_PASSING.test(code)) return true;
  return POSTGRES_PASSING_MESSAGE.test(message);
}

/** True when another writer is in the way and the whole transaction may simply be run again. */
export function isCollision(error: unknown): boolean {
  const { code, sqliteCode } = driverError(error);
  return sqliteCode === 5 || code === "40001" || code === "40P01";
}

/** Turn what a driver threw into what callers are told. Errors that are not a driver's pass through. */
export function translateError(error: unknown): unknown {
  const known = driverError(error);
  const isDrivers = known.code !== undefined || known.sqliteCode !== undefined;
  if (!isDrivers && !isPassing(known)) return error;
  if (error instanceof StoreFailed || error instanceof SchemaVersionUnsupported) return error;
  if (error instanceof BeingRemoved) return error;
  if (error instanceof StoreUnavailable) return error;
  // Not the driver's own error: Postgres puts row values into `detail`, and causes are logged.
  const cause = Object.assign(new Error(known.message), {
    ...(known.sqliteCode === undefined ? {} : { code: `SQLITE_${String(known.sqliteCode)}` }),
    ...(known.code === undefined ? {} : { code: known.code }),
  });
  if (isPassing(known)) {
    return new StoreUnavailable({
      message: `The database cannot be used right now (${known.message}). It is asked again; check that it runs and is not overloaded.`,
      retryAfterMs: RETRY_SOON_MS,
      cause,
    });
  }
  return new StoreFailed(`The database refused a statement: ${known.message}`, { cause });
}
