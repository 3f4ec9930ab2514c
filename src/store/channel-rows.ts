import type { Selectable } from "kysely";
import type { ChannelRow } from "../core/channel-store.ts";
import { epochMs } from "../core/clock.ts";
import { calendarId } from "../core/ids.ts";
import { momentOf } from "./calendar-rows.ts";
import type { Reader } from "./database.ts";
import type { Tables } from "./tables.ts";

/** A calendar's channels, oldest first. */
export async function channelsOf(db: Reader, id: string): Promise<readonly ChannelRow[]> {
  const rows = await db
    .selectFrom("channels")
    .selectAll()
    .where("calendar_id", "=", id)
    .orderBy("created_at")
    .orderBy("id")
    .execute();
  return rows.map(toChannel);
}

type StoredChannel = Selectable<Tables["channels"]>;

/** The row as the rest of the service sees it. */
export function toChannel(row: StoredChannel): ChannelRow {
  return {
    id: row.id,
    calendarId: calendarId(row.calendar_id),
    state: row.state,
    resourceId: row.resource_id ?? undefined,
    expiresAt: momentOf(row.expires_at),
    createdAt: epochMs(row.created_at),
    lastMessageAt: momentOf(row.last_message_at),
    reason: row.reason,
  };
}
