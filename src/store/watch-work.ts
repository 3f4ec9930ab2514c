import { sql } from "kysely";
import type { ChannelStore, WatchSettled, WatchWork } from "../core/channel-store.ts";
import { epochMs } from "../core/clock.ts";
import { accountId, calendarId, googleCalendarId, tenantId } from "../core/ids.ts";
import { momentOf } from "./calendar-rows.ts";
import { channelsOf } from "./channel-rows.ts";
import type { Database, Trx } from "./database.ts";
import {
  readDueTenants,
  settleTenants,
  takeNotes,
  WATCH_KIND,
  type LookedAt,
} from "./due-tenants.ts";
import { restsNoMore } from "./pull-in.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

/*
 * Work on a calendar's channels, by its due time alone: due → claimed (due again when the claim runs out)
 * → begun (due again when the lease runs out) → settled. The time it would be due again names the holder,
 * so whoever comes late finds another one there and does nothing.
 */

type WatchStore = Pick<ChannelStore, "claimWatches" | "beginWatch" | "settleWatch" | "noteSilence">;

/** Whose channels need looking after, and by whom. */
export function createWatchStore({ database }: { readonly database: Database }): WatchStore {
  return {
    claimWatches: (query) => claimWatches(database, query),
    beginWatch: (id, lease) => database.write((trx) => beginWatch(trx, id, lease)),
    settleWatch: (id, settled) => database.write((trx) => settleWatch(trx, id, settled)),
    async noteSilence(id, { untoldSince, dueAt, pollBy }) {
      await database.write(async (trx) => {
        await trx
          .updateTable("calendars")
          .set({
            watch_silent_at: untoldSince,
            watch_due_at: sql`case when watch_due_at < ${dueAt} then watch_due_at else ${dueAt} end`,
            ...restsNoMore(pollBy, "unproven"),
          })
          .where("id", "=", toStoredText(id))
          .where("watch_state", "=", "watched")
          .where("watch_silent_at", "is", null)
          .execute();
      });
    },
  };
}

async function claimWatches(
  database: Database,
  query: Parameters<ChannelStore["claimWatches"]>[0],
): ReturnType<ChannelStore["claimWatches"]> {
  const claim = epochMs(query.now + query.queuedForMs);
  const claimed = await database.write(async (trx) => {
    await database.dialect.excludeOthers(trx, "claim");
    await takeNotes(database, trx, query.now);
    const of = { kind: WATCH_KIND, now: query.now, limit: query.limit };
    const tenants = await readDueTenants({ database, trx }, of);
    const rows: { readonly id: string; readonly tenant_id: string }[] = [];
    let open = tenants.map(({ tenant }) => tenant);
    while (open.length > 0 && rows.length < query.limit) {
      const each = Math.max(1, Math.floor((query.limit - rows.length) / open.length));
      const more: string[] = [];
      for (const tenant of open.slice(0, query.limit - rows.length)) {
        const due = { now: query.now, each, claim };
        const taken = await takeWatches({ database, trx }, tenant, due);
        rows.push(...taken);
        if (taken.length === each) more.push(tenant);
      }
      open = more;
    }
    const looked: LookedAt[] = [];
    for (const due of tenants) {
      const nextAt = await nextWatch(trx, due.tenant);
      looked.push({ ...due, kind: WATCH_KIND, found: { kind: "none-left", nextAt } });
    }
    await settleTenants({ database, trx }, looked, query.now);
    return rows;
  });
  return claimed.map((row) => ({
    calendarId: calendarId(row.id),
    tenantId: tenantId(fromStoredText(row.tenant_id)),
    claim,
  }));
}

// In the words of the index's own condition, so that both planners recognise it.
const IS_WATCH_DUE = sql<boolean>`account_state = 'connected' and watch_due_at is not null`;

async function takeWatches(
  { database, trx }: { readonly database: Database; readonly trx: Trx },
  tenant: string,
  { now, each, claim }: { readonly now: number; readonly each: number; readonly claim: number },
): Promise<readonly { readonly id: string; readonly tenant_id: string }[]> {
  const rows = await trx
    .selectFrom("calendars")
    .select(["id", "tenant_id"])
    .where(IS_WATCH_DUE)
    .where("tenant_id", "=", tenant)
    .where("watch_due_at", "<=", now)
    .orderBy("watch_due_at")
    .limit(each)
    .modifyEnd(database.dialect.forUpdateOfFree)
    .execute();
  if (rows.length === 0) return rows;
  await trx
    .updateTable("calendars")
    .set({ watch_due_at: claim })
    .where(
      "id",
      "in",
      rows.map(({ id }) => id),
    )
    .execute();
  return rows;
}

/** Also of one that somebody holds this moment: as it was before, which is no later than what a note says of it. */
async function nextWatch(trx: Trx, tenant: string): Promise<number | undefined> {
  const row = await trx
    .selectFrom("calendars")
    .select("watch_due_at")
    .where(IS_WATCH_DUE)
    .where("tenant_id", "=", tenant)
    .orderBy("watch_due_at")
    .limit(1)
    .executeTakeFirst();
  return row?.watch_due_at ?? undefined;
}

async function beginWatch(
  trx: Trx,
  id: string,
  lease: Parameters<ChannelStore["beginWatch"]>[1],
): Promise<WatchWork | undefined> {
  const row = await trx
    .selectFrom("calendars")
    .selectAll()
    .where("id", "=", toStoredText(id))
    .where("watch_due_at", "=", lease.claim)
    .where("account_state", "=", "connected")
    .executeTakeFirst();
  if (row === undefined) return undefined;
  // One millisecond more, where it would be taken for the claim.
  const until = lease.until === lease.claim ? epochMs(lease.until + 1) : lease.until;
  const begun = await trx
    .updateTable("calendars")
    // What stands if this process dies now: due when the lease is over, and the next try a retry.
    .set({ watch_due_at: until, watch_earlier_attempt: "reached-google" })
    .where("id", "=", toStoredText(id))
    .where("watch_due_at", "=", lease.claim)
    .returning("id")
    .executeTakeFirst();
  if (begun === undefined) return undefined;
  return {
    calendarId: calendarId(row.id),
    until,
    accountId: accountId(row.account_id),
    tenantId: tenantId(fromStoredText(row.tenant_id)),
    googleId: googleCalendarId(fromStoredText(row.google_id)),
    isWanted: row.lost_reason === null && row.paused_reason === null,
    state: row.watch_state,
    untoldSince: momentOf(row.watch_silent_at),
    consecutiveFailures: row.watch_failures,
    earlierAttempt: row.watch_earlier_attempt,
    channels: await channelsOf(trx, row.id),
  };
}

async function settleWatch(trx: Trx, id: string, settled: WatchSettled): Promise<boolean> {
  const { state, pollBy } = settled;
  const polls =
    state === "watched"
      ? {}
      : restsNoMore(pollBy, state === "unwatchable" ? "unwatchable" : "active");
  const row = await trx
    .updateTable("calendars")
    .set({
      ...polls,
      watch_state: state,
      watch_due_at: settled.dueAt ?? null,
      watch_failures: settled.consecutiveFailures,
      watch_earlier_attempt: settled.earlierAttempt,
      ...(settled.isSilenceAnswered ? { watch_silent_at: null } : {}),
    })
    .where("id", "=", toStoredText(id))
    .where("watch_due_at", "=", settled.until)
    .returning("id")
    .executeTakeFirst();
  if (row !== undefined) return true;
  await trx
    .updateTable("calendars")
    .set({ ...polls, watch_state: state })
    .where("id", "=", toStoredText(id))
    .execute();
  return false;
}
