import type { Updateable } from "kysely";
import type { ChannelStore } from "../core/channel-store.ts";
import { channelsOf, toChannel } from "./channel-rows.ts";
import type { Database } from "./database.ts";
import { markNotified, putOff } from "./mark-notified.ts";
import { readPushHealth } from "./push-health.ts";
import type { Tables } from "./tables.ts";
import { createWatchStore } from "./watch-work.ts";

/** Channels in the database, whose calendars need them looked after, and what they told. */
export function createChannelStore(deps: { readonly database: Database }): ChannelStore {
  const { database } = deps;
  return {
    ...reading(database),
    ...writing(database),
    ...createWatchStore(deps),
    markNotified: (notified, how) => markNotified(database, notified, how),
    putOff: (calendars, how) => putOff(database, calendars, how),
    health: (now) => readPushHealth(database, now),
  };
}

type Reading = Pick<ChannelStore, "get" | "listOfCalendar">;
type Writing = Pick<ChannelStore, "add" | "confirm" | "markStopping" | "remove">;

function writing(database: Database): Writing {
  const change = async (id: string, values: Updateable<Tables["channels"]>): Promise<boolean> => {
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
            reason: channel.reason ?? "first",
          })
          .execute();
      });
    },
    confirm: (id, { resourceId, expiresAt }) =>
      change(id, { state: "live", resource_id: resourceId, expires_at: expiresAt }),
    async markStopping(id) {
      await change(id, { state: "stopping" });
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
    listOfCalendar: (id) => database.read((db) => channelsOf(db, id)),
  };
}
