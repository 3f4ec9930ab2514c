import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { openMigrations, openStore, type Store } from "../../src/store/open-store.ts";
import { SchemaVersionUnsupported } from "../../src/store/store-errors.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { openTestStore, testVault } from "./store-fixture.ts";
import { runOnDatabase } from "./run-on-database.ts";

function open(url: string, migrateWhenEmpty: boolean): Promise<Store> {
  return openStore(
    { url, mirror: "full", migrateWhenEmpty },
    { clock: systemClock, vault: testVault },
  );
}

/** Settings, the operator log and the schema. */
export function recordConformance(freshDatabase: FreshDatabase): void {
  describe("settings", () => {
    test("are seeded where absent, changed with a record, and removed", async () => {
      const store = await openTestStore(await freshDatabase());
      const by = { actor: "olga", reason: "older project", now: store.now() };
      expect(await store.settings.seed({ "quota.day": 5, "quota.minute": 9 }, store.now())).toEqual(
        ["quota.day", "quota.minute"],
      );
      await store.settings.set("quota.day", { limit: 7 }, by);
      expect(await store.settings.seed({ "quota.day": 5 }, store.now())).toEqual([]);
      expect(await store.settings.get("quota.day")).toEqual({ limit: 7 });
      expect(await store.settings.list("quota.")).toEqual([
        { name: "quota.day", value: { limit: 7 }, updatedAt: store.now() },
        { name: "quota.minute", value: 9, updatedAt: store.now() },
      ]);
      await store.settings.set("quota.day", undefined, by);
      expect(await store.settings.get("quota.day")).toBeUndefined();
      expect(await store.operatorLog.list({ limit: 10 })).toMatchObject([
        { action: "settings.removed", subject: "quota.day", details: { before: '{"limit":7}' } },
        {
          action: "settings.changed",
          subject: "quota.day",
          actor: "olga",
          reason: "older project",
          details: { before: "5", value: '{"limit":7}' },
        },
      ]);
    });
  });

  describe("the operator log", () => {
    test("is told newest first, page by page", async () => {
      const store = await openTestStore(await freshDatabase());
      for (const subject of ["a", "b", "c"]) {
        await store.operatorLog.append({
          at: store.now(),
          actor: "ballast",
          action: "job.set-aside",
          subject,
          reason: undefined,
          details: { tries: 3 },
        });
      }
      const [newest, ...rest] = await store.operatorLog.list({ limit: 2 });
      expect([newest?.subject, rest[0]?.subject]).toEqual(["c", "b"]);
      const older = await store.operatorLog.list({ limit: 5, before: rest[0]?.sequence });
      expect(older).toMatchObject([{ subject: "a", details: { tries: 3 } }]);
    });
  });

  describe("the schema", () => {
    test("an empty database is not migrated unless that is asked for", async () => {
      await expect(open(await freshDatabase(), false)).rejects.toThrow(/ballast migrate plan/);
    });

    test("is planned, applied step by step, and reported", async () => {
      const migrations = openMigrations(await freshDatabase(), { clock: systemClock });
      try {
        expect(await migrations.status()).toMatchObject({ version: 0, applied: [] });
        const plan = await migrations.plan();
        expect(plan.length).toBeGreaterThan(0);
        expect(plan[0]).toMatchObject({ version: 1, name: "initial", rowsTouched: 0 });
        const applied = await migrations.apply();
        expect(applied.map((step) => step.version)).toEqual(plan.map((step) => step.version));
        expect(await migrations.status()).toMatchObject({ pending: [] });
        expect(await migrations.plan()).toEqual([]);
        expect(await migrations.apply()).toEqual([]);
      } finally {
        await migrations.close();
      }
    });

    test("two that apply at once exclude each other", async () => {
      const url = await freshDatabase();
      const appliers = [1, 2, 3].map(() => openMigrations(url, { clock: systemClock }));
      try {
        const applied = await Promise.all(appliers.map((migrations) => migrations.apply()));
        expect(applied.flat().filter((step) => step.version === 1)).toHaveLength(1);
      } finally {
        await Promise.all(appliers.map((migrations) => migrations.close()));
      }
    });

    test("a version that this build does not know is refused, with both versions and what to do", async () => {
      const url = await freshDatabase();
      const store = await open(url, true);
      await store.close();
      await runOnDatabase(
        url,
        "insert into schema_migrations (version, name, applied_at) values (999, 'future', 0)",
      );
      await expect(open(url, true)).rejects.toThrow(SchemaVersionUnsupported);
      await expect(open(url, true)).rejects.toThrow(/version 999.*Use the build/s);
      const migrations = openMigrations(url, { clock: systemClock });
      await expect(migrations.apply()).rejects.toThrow(SchemaVersionUnsupported);
      await migrations.close();
    });
  });
}
