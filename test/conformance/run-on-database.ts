import { DatabaseSync } from "node:sqlite";
import { runOnPostgres } from "../support/postgres-cluster.ts";

/** Run one statement beside the store, as somebody else would. */
export async function runOnDatabase(url: string, statement: string): Promise<void> {
  if (!url.startsWith("sqlite:")) {
    await runOnPostgres(url, statement);
    return;
  }
  const database = new DatabaseSync(url.slice("sqlite:".length));
  try {
    database.exec(statement);
  } finally {
    database.close();
  }
}
