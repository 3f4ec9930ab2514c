import { sql } from "kysely";
import type { Clock } from "../core/clock.ts";
import type { Database, Trx } from "./database.ts";
import { initial } from "./migrations/0001-initial.ts";
import type { Migration } from "./migration.ts";
import { SchemaVersionUnsupported } from "./store-errors.ts";

const MIGRATIONS: readonly Migration[] = [initial];

/** The schema versions that this build runs with: its own and, once there is one, the one before. */
export const SUPPORTED_SCHEMA = { from: 1, to: 1 } as const;

/** Where a database stands. Version 0: it has no schema of ours. */
export interface MigrationStatus {
  readonly version: number;
  readonly supported: { readonly from: number; readonly to: number };
  readonly applied: readonly { readonly version: number; readonly name: string }[];
  readonly pending: readonly { readonly version: number; readonly name: string }[];
}

/** A step not yet applied, with what it will cost. */
export interface PlannedMigration {
  readonly version: number;
  readonly name: string;
  readonly description: string;
  readonly rowsTouched: number;
  readonly locks: string;
  readonly estimatedMs: number;
}

/** What `ballast migrate` does; nothing else changes a schema but `start` on an empty embedded database. */
export interface Migrations {
  status(): Promise<MigrationStatus>;
  plan(): Promise<readonly PlannedMigration[]>;
  /** Neither ours nor anyone's: what `start` may migrate by itself. */
  isEmpty(): Promise<boolean>;
  /** Applies each pending step in a transaction of its own; two appliers take turns. Returns what it applied. */
  apply(): Promise<readonly { readonly version: number; readonly name: string }[]>;
}

/** The migrations of one database. */
export function createMigrations(database: Database, clock: Clock): Migrations {
  async function status(): Promise<MigrationStatus> {
    const applied = await appliedMigrations(database);
    const version = applied.at(-1)?.version ?? 0;
    const pending = MIGRATIONS.filter((step) => step.version > version);
    return {
      version,
      supported: SUPPORTED_SCHEMA,
      applied,
      pending: pending.map((step) => ({ version: step.version, name: step.name })),
    };
  }

  return {
    status,
    isEmpty: () => database.read((db) => database.dialect.isEmpty(db)),
    async plan() {
      const { version } = await status();
      const pending = MIGRATIONS.filter((step) => step.version > version);
      const planned: PlannedMigration[] = [];
      for (const step of pending) planned.push(await planStep(database, step));
      return planned;
    },
    async apply() {
      const { version } = await status();
      if (version > SUPPORTED_SCHEMA.to)
        throw new SchemaVersionUnsupported(version, SUPPORTED_SCHEMA);
      const applied: { version: number; name: string }[] = [];
      for (const step of MIGRATIONS) {
        const isApplied = await database.write((trx) => applyStep({ database, clock, trx }, step));
        if (isApplied) applied.push({ version: step.version, name: step.name });
      }
      return applied;
    },
  };
}

/** Throws `SchemaVersionUnsupported` unless this build can run with the database as it is. */
export async function requireSupportedSchema(migrations: Migrations): Promise<MigrationStatus> {
  const status = await migrations.status();
  const isSupported =
    status.version >= SUPPORTED_SCHEMA.from && status.version <= SUPPORTED_SCHEMA.to;
  if (!isSupported) throw new SchemaVersionUnsupported(status.version, SUPPORTED_SCHEMA);
  return status;
}

async function appliedMigrations(
  database: Database,
): Promise<readonly { version: number; name: string }[]> {
  return database.read(async (db) => {
    if (!(await database.dialect.hasTable(db, "schema_migrations"))) return [];
    return db
      .selectFrom("schema_migrations")
      .select(["version", "name"])
      .orderBy("version")
      .execute();
  });
}

async function planStep(database: Database, step: Migration): Promise<PlannedMigration> {
  const { table, locks, millisecondsPerRow } = step.plan;
  const rowsTouched =
    table === undefined ? 0 : await database.read((db) => database.dialect.estimateRows(db, table));
  return {
    version: step.version,
    name: step.name,
    description: step.description,
    rowsTouched,
    locks,
    estimatedMs: Math.ceil(rowsTouched * millisecondsPerRow),
  };
}

async function applyStep(
  { database, clock, trx }: { database: Database; clock: Clock; trx: Trx },
  step: Migration,
): Promise<boolean> {
  await database.dialect.excludeOthers(trx, "migrate");
  await sql`create table if not exists schema_migrations (
    version bigint primary key, name text not null, applied_at bigint not null)`.execute(trx);
  const newest = await trx
    .selectFrom("schema_migrations")
    .select("version")
    .orderBy("version", "desc")
    .limit(1)
    .executeTakeFirst();
  // Another applier may have been here while we waited for our turn.
  if ((newest?.version ?? 0) >= step.version) return false;
  for (const statement of step.statements(database.dialect)) await statement.execute(trx);
  await trx
    .insertInto("schema_migrations")
    .values({ version: step.version, name: step.name, applied_at: clock.now() })
    .execute();
  return true;
}
