import { epochMs } from "../core/clock.ts";
import type { ChannelRow, ChannelStore } from "../core/channel-store.ts";
import { calendarId } from "../core/ids.ts";
import type { Database } from "./database.ts";
import type { Tables } from "./tables.ts";

/** Channels in the database. */
export function createChannelStore(deps: { readonly database: Database }): ChannelStore {
  return { ...reading(deps.database), ...writing(deps.database) };
}

type Reading = Pick<ChannelStore, "get" | "listOfCalendar" | "listExpiring">;

function writing(database: Database): Omit<ChannelStore, keyof Reading> {
  const change = async (id: string, values: Partial<Tables["channels"]>): Promise<boolean> => {
    const row = await database.write((trx) =>
      trx
        .updateTable("channels")
        .set(values)
        .where("id", "=", id)
        .returning("id")
        .executeTakeFirst(),
    );
    return row !== undefined;
  };

  return {
    async add(channel) {
      await database.write(async (trx) => {
        await trx
          .insertInto("channels")
          .values({
            id: channel.id,
            calendar_id: channel.calendarId,
            state: "opening",
            resource_id: null,
            expires_at: null,
            created_at: channel.createdAt,
            last_message_at: null,
          })
          .execute();
      });
    },
    confirm: (id, { resourceId, expiresAt }) =>
      change(id, { state: "live", resource_id: resourceId, expires_at: expiresAt }),
    async markStopping(id) {
      await change(id, { state: "stopping" });
    },
    async noteMessage(id, at) {
      await change(id, { last_message_at: at });
    },
    async remove(id) {
      await database.write(async (trx) => {
        await trx.deleteFrom("channels").where("id", "=", id).execute();
      });
    },
  };
}

function reading(database: Database): Reading {
  return {
    async get(id) {
      const row = await database.read((db) =>
        db.selectFrom("channels").selectAll().where("id", "=", id).executeTakeFirst(),
      );
      return row === undefined ? undefined : toChannel(row);
    },
    async listOfCalendar(id) {
      const rows = await database.read((db) =>
        db
          .selectFrom("channels")
          .selectAll()
          .where("calendar_id", "=", id)
          .orderBy("created_at")
          .orderBy("id")
          .execute(),
      );
      return rows.map(toChannel);
    },
    async listExpiring(before, limit) {
      const rows = await database.read((db) =>
        db
          .selectFrom("channels")
          .selectAll()
          .where("state", "=", "live")
          .where("expires_at", "<", before)
          .orderBy("expires_at")
          .limit(limit)
          .execute(),
      );
      return rows.map(toChannel);
    },
  };
}

function toChannel(row: Tables["channels"]): ChannelRow {
  return {
    id: row.id,
    calendarId: calendarId(row.calendar_id),
    state: row.state,
    resourceId: row.resource_id ?? undefined,
    expiresAt: row.expires_at === null ? undefined : epochMs(row.expires_at),
    createdAt: epochMs(row.created_at),
    lastMessageAt: row.last_message_at === null ? undefined : epochMs(row.last_message_at),
  };
}
