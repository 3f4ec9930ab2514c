import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import { claimDueCalendars } from "../../src/store/claim-due.ts";
import { createMigrations } from "../../src/store/migrations.ts";
import { openSqliteDatabase } from "../../src/store/sqlite-database.ts";
import { generateCalendars } from "../scenarios/planner/planner-database.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const NOW = 1_800_000_000_000;

test("a claim on SQLite goes from each tenant to its own rows, also when statistics call the table small", async () => {
  const database = openSqliteDatabase(join(await temporaryDirectory(), "planner.db"));
  onTestFinished(() => database.close());
  await createMigrations(database, systemClock).apply();
  await generateCalendars(
    database,
    { calendars: 1_000, tenants: 50, overdueOfOne: 300, overdueOfOthers: 10 },
    NOW,
  );
  const { sql, parameters } = database.dialect
    .dueCalendars([{ tenant: "tenant-000000000", take: 10 }], { classRank: 2, now: NOW })
    .compile(await database.read((db) => Promise.resolve(db)));
  const plan = await database.read((db) =>
    db.executeQuery<{ detail: string }>({
      ...db.selectNoFrom([]).compile(),
      sql: `explain query plan ${sql}`,
      parameters,
    }),
  );
  const steps = plan.rows.map(({ detail }) => detail).join("\n");
  expect(steps).toContain("SEARCH c USING INTEGER PRIMARY KEY");
  expect(steps).toContain("USING INDEX calendars_due");
  expect(steps).not.toMatch(/SCAN (?:c|calendars)\b/);

  const claim = { now: epochMs(NOW), limit: 100, perTenant: 100, queuedForMs: 60_000 };
  const claimed = await claimDueCalendars(database, claim);
  expect(claimed).toHaveLength(100);
  expect(new Set(claimed.map((one) => one.tenantId)).size).toBe(50);
});
