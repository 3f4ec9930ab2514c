import { DatabaseSync } from "node:sqlite";
import { Client } from "pg";

/** A row of any table, as JSON. */
export interface StoredRow {
  readonly table: string;
  readonly text: string;
  readonly calendarNumber: number | undefined;
}

/** Every row of every table, so that a table made tomorrow is looked at, too. */
export async function readStoredRows(url: string): Promise<readonly StoredRow[]> {
  return url.startsWith("sqlite:") ? readSqlite(url.slice("sqlite:".length)) : readPostgres(url);
}

/** The tables in which one of these texts, or a row of one of these calendars, is left. */
export function findLeftovers(
  rows: readonly StoredRow[],
  of: { readonly texts: readonly string[]; readonly numbers: readonly number[] },
): readonly string[] {
  const found = rows.filter(
    ({ text, calendarNumber }) =>
      of.texts.some((one) => text.includes(one)) ||
      (calendarNumber !== undefined && of.numbers.includes(calendarNumber)),
  );
  return [...new Set(found.map(({ table, text }) => `${table}: ${text.slice(0, 200)}`))];
}

function readSqlite(path: string): readonly StoredRow[] {
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    const tables = database.prepare("select name from sqlite_schema where type = 'table'").all();
    return tables.flatMap(({ name }) =>
      database
        .prepare(`select * from "${String(name)}"`)
        .all()
        .map((row) => toStored(String(name), row)),
    );
  } finally {
    database.close();
  }
}

async function readPostgres(url: string): Promise<readonly StoredRow[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const tables = await client.query<{ name: string }>(
      "select relname as name from pg_class where relnamespace = current_schema()::regnamespace and relkind = 'r'",
    );
    const rows: StoredRow[] = [];
    for (const { name } of tables.rows) {
      const read = await client.query<Record<string, unknown>>(`select * from "${name}"`);
      rows.push(...read.rows.map((row) => toStored(name, row)));
    }
    return rows;
  } finally {
    await client.end();
  }
}

function toStored(table: string, row: Readonly<Record<string, unknown>>): StoredRow {
  const number = table === "calendars" ? row["number"] : row["calendar_number"];
  return {
    table,
    text: JSON.stringify(row),
    calendarNumber: number === undefined ? undefined : Number(number),
  };
}
