import { sql } from "kysely";
import { FRESHNESS_TARGET_MS } from "../core/calendar-state.ts";
import type { Publication } from "../core/refresh-store.ts";
import { rankOfClass } from "./calendar-rows.ts";
import type { Trx } from "./database.ts";
import { nextPollOf } from "./next-poll.ts";
import { NO_LISTING } from "./no-listing.ts";
import { unmarkQueued } from "./queued-calendars.ts";
import type { HeldCalendar } from "./stage-page.ts";
import { toStoredText, toStoredTextOrNull } from "./stored-text.ts";

/** What a publish says about the calendar itself: served marks, token, until when it is fresh, when it is due. */
export async function moveMarks(
  trx: Trx,
  held: HeldCalendar,
  { publication, generation }: { publication: Publication; generation: number },
): Promise<void> {
  const { served, now, kind } = publication;
  const nextPoll = await nextPollOf(trx, held, { publication, generation });
  const fullServed = kind === "full" ? sql<number>`${served}` : sql<number>`full_served`;
  // I6: what was asked for while this refresh ran leads to another one.
  const isUnserved = sql`(requested > ${served} or full_mark > ${fullServed})`;
  const row = await trx
    .updateTable("calendars")
    .set({
      fence: sql`fence + 1`,
      lease_until: null,
      ...NO_LISTING,
      generation,
      ...(generation === held.generation ? {} : { published_at: now }),
      synced_at: now,
      current_as_of: sql`case when current_as_of > ${publication.startedAt}
        then current_as_of else ${publication.startedAt} end`,
      fresh_until: nextPoll.dueAt + FRESHNESS_TARGET_MS,
      poll_kind: nextPoll.kind ?? "active",
      sync_token: toStoredText(publication.syncToken),
      query_fingerprint: publication.queryFingerprint,
      ...(publication.timeZone === undefined
        ? {}
        : { time_zone: toStoredTextOrNull(publication.timeZone) }),
      ...(publication.accessRole === undefined
        ? {}
        : { access_role: toStoredTextOrNull(publication.accessRole) }),
      served: sql`case when served > ${served} then served else ${served} end`,
      full_served: fullServed,
      unserved_since: sql`case when ${isUnserved}
        then coalesce(pending_since, unserved_since, ${now}) end`,
      due_at: sql`case when lost_reason is not null then null
        when ${isUnserved} then coalesce(pending_due_at, ${now}) else ${nextPoll.dueAt} end`,
      due_reason: sql`case when ${isUnserved} then 'requested' else ${nextPoll.reason} end`,
      due_class: sql`case when ${isUnserved}
        then coalesce(pending_class, due_class) else ${rankOfClass("poll")} end`,
      earlier_attempt: "none",
      consecutive_failures: 0,
      last_failure_code: null,
      slowed_reason: null,
    })
    .where("number", "=", held.number)
    .returning(["number", "tenant_id", "account_state", "due_at", "due_class"])
    .executeTakeFirstOrThrow();
  await unmarkQueued(trx, row);
}
