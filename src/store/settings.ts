import type { SettingsStore } from "../core/settings-store.ts";
import type { Database } from "./database.ts";
import { epochMs } from "../core/clock.ts";
import { appendEntry } from "./operator-log.ts";

/** Settings in the database; every change with its record in the same transaction. */
export function createSettingsStore(deps: { readonly database: Database }): SettingsStore {
  const { database } = deps;
  return {
    async get(name) {
      const row = await database.read((db) =>
        db.selectFrom("settings").select("value").where("name", "=", name).executeTakeFirst(),
      );
      return row === undefined ? undefined : parse(row.value);
    },
    async list(prefix) {
      const rows = await database.read((db) =>
        db.selectFrom("settings").selectAll().where("name", ">=", prefix).orderBy("name").execute(),
      );
      return rows
        .filter((row) => row.name.startsWith(prefix))
        .map((row) => ({
          name: row.name,
          value: parse(row.value),
          updatedAt: epochMs(row.updated_at),
        }));
    },
    async set(name, value, by) {
      await database.write(async (trx) => {
        const before = await trx
          .selectFrom("settings")
          .select("value")
          .where("name", "=", name)
          .executeTakeFirst();
        if (value === undefined) {
          await trx.deleteFrom("settings").where("name", "=", name).execute();
        } else {
          const row = { value: JSON.stringify(value), updated_at: by.now };
          await trx
            .insertInto("settings")
            .values({ name, ...row })
            .onConflict((conflict) => conflict.column("name").doUpdateSet(row))
            .execute();
        }
        await appendEntry(trx, {
          at: by.now,
          actor: by.actor,
          action: value === undefined ? "settings.removed" : "settings.changed",
          subject: name,
          reason: by.reason,
          details: {
            before: before?.value ?? null,
            ...(value === undefined ? {} : { value: JSON.stringify(value) }),
          },
        });
      });
    },
    seed: (values, now) =>
      database.write(async (trx) => {
        const written: string[] = [];
        for (const [name, value] of Object.entries(values)) {
          const row = await trx
            .insertInto("settings")
            .values({ name, value: JSON.stringify(value), updated_at: now })
            .onConflict((conflict) => conflict.column("name").doNothing())
            .returning("name")
            .executeTakeFirst();
          if (row !== undefined) written.push(row.name);
        }
        return written;
      }),
  };
}

function parse(text: string): unknown {
  return JSON.parse(text);
}
