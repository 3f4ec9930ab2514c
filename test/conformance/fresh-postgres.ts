import { randomBytes } from "node:crypto";
import { inject, onTestFinished } from "vitest";
import { runOnPostgres } from "../support/postgres-cluster.ts";

/** An empty database on the run's own cluster, dropped after the test. */
export async function freshPostgresDatabase(): Promise<string> {
  const maintenance = inject("postgresUrl");
  const name = `store_${randomBytes(6).toString("hex")}`;
  await runOnPostgres(maintenance, `create database ${name}`);
  onTestFinished(() => runOnPostgres(maintenance, `drop database ${name} with (force)`));
  return maintenance.replace("/postgres?", `/${name}?`);
}
