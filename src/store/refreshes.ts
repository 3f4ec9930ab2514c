import { sql, type Updateable } from "kysely";
import { epochMs } from "../core/clock.ts";
import { accountId, googleCalendarId, tenantId } from "../core/ids.ts";
import type {
  BeginRefresh,
  RefreshLease,
  RefreshPostponed,
  RefreshState,
  RefreshStore,
  UnfinishedRefresh,
} from "../core/refresh-store.ts";
import type { Mirror } from "./busy-mirror.ts";
import {
  classOfRank,
  dueReasonOf,
  momentOf,
  rankOfClass,
  type StoredCalendar,
} from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { NO_LISTING } from "./no-listing.ts";
import { calendarChange, noteChanges } from "./note-changes.ts";
import { publishListing } from "./publish-listing.ts";
import { forgetQueued, takeBackMark, unmarkQueued } from "./queued-calendars.ts";
import { noteRefresh } from "./refresh-history.ts";
import { stageListingPage } from "./stage-page.ts";
import { fromStoredText, fromStoredTextOrUndefined, toStoredText } from "./stored-text.ts";
import type { Tables } from "./tables.ts";

/*
 * One calendar's row, as its refresh sees it: idle → leased (fence + 1) → idle. A lease ends by
 * publish, by postpone (both raise the fence again, so that the same holder cannot write twice), or
 * by its time, and then the row is due at that moment with the reason `interrupted`. Beside it, a
 * listing: none → unfinished (pages stored, one page token) → none.
 */

/** Leases, staged pages and publishes, in the database. */
export function createRefreshStore(deps: {
  readonly database: Database;
  readonly mirror: Mirror;
}): RefreshStore {
  const { database } = deps;
  return {
    begin: (id, lease) => database.write((trx) => beginRefresh(database, trx, { id, ...lease })),
    stagePage: (lease, page) => stageListingPage(deps, lease, page),
    publish: (lease, publication) => publishListing(deps, lease, publication),
    postpone: (lease, outcome) =>
      database.write((trx) => postpone({ database, trx }, lease, outcome)),
  };
}

async function beginRefresh(
  database: Database,
  trx: Trx,
  lease: { readonly id: RefreshLease["calendarId"]; readonly now: number; readonly until: number },
): Promise<BeginRefresh> {
  const row = await trx
    .selectFrom("calendars")
    .selectAll()
    .where("id", "=", toStoredText(lease.id))
    .modifyEnd(database.dialect.forUpdate)
    .executeTakeFirst();
  if (row === undefined) return { kind: "unknown-calendar" };
  const refusal = reasonNotToRefresh(row);
  if (refusal !== undefined) {
    // Its job is over, and nobody can claim it: the mark would only count against the tenant's other calendars.
    if (row.account_state !== "connected") await forgetQueued(trx, row.number);
    return { kind: "not-refreshable", reason: refusal };
  }
  if (row.lease_until !== null && row.lease_until > lease.now) {
    return { kind: "busy", until: epochMs(row.lease_until) };
  }
  if (row.due_at === null || row.due_at > lease.now) {
    await takeBackMark(trx, row, lease.now);
    return { kind: "not-due" };
  }

  const fence = row.fence + 1;
  await trx
    .updateTable("calendars")
    .set({
      fence,
      lease_until: lease.until,
      pending_since: null,
      pending_due_at: null,
      pending_class: null,
      // What stands if this process dies now: due when the lease is over, and the next try a retry.
      due_at: lease.until,
      due_reason: "interrupted",
      earlier_attempt: "reached-google",
    })
    .where("id", "=", toStoredText(lease.id))
    .execute();
  await unmarkQueued(trx, { ...row, due_at: lease.until });
  return { kind: "begun", lease: { calendarId: lease.id, fence }, state: toState(lease.id, row) };
}

function reasonNotToRefresh(row: StoredCalendar): string | undefined {
  if (row.lost_reason !== null) return `lost: ${row.lost_reason}`;
  if (row.paused_reason !== null) return `paused: ${row.paused_reason}`;
  return row.account_state === "connected" ? undefined : `account ${row.account_state}`;
}

function toState(id: RefreshState["calendarId"], row: StoredCalendar): RefreshState {
  return {
    calendarId: id,
    accountId: accountId(row.account_id),
    tenantId: tenantId(fromStoredText(row.tenant_id)),
    googleId: googleCalendarId(fromStoredText(row.google_id)),
    generation: row.generation,
    syncToken: fromStoredTextOrUndefined(row.sync_token),
    queryFingerprint: row.query_fingerprint ?? undefined,
    unfinished: toUnfinished(row),
    earlierAttempt: row.earlier_attempt,
    requestedMode: row.full_mark > row.full_served ? "full" : "incremental",
    requested: row.requested,
    served: row.served,
    dueClass: classOfRank(row.due_class),
    dueReason: dueReasonOf(row.due_reason),
    pageSize: row.page_size,
    consecutiveFailures: row.consecutive_failures,
    lastFailureCode: row.last_failure_code ?? undefined,
    tokenDeaths: row.token_deaths,
    lastTokenDeathAt: momentOf(row.last_token_death_at),
  };
}

function toUnfinished(row: StoredCalendar): UnfinishedRefresh | undefined {
  if (row.listing_kind === null || row.listing_started_at === null) return undefined;
  return {
    kind: row.listing_kind,
    nextPageToken: fromStoredTextOrUndefined(row.listing_page_token),
    startedAt: epochMs(row.listing_started_at),
    pagesStored: row.listing_pages,
    fingerprint: row.listing_fingerprint ?? "",
    requestedAtStart: row.listing_requested ?? row.served,
  };
}

/** What a refresh that came to no end leaves for the next one. */
function whatWasLearnt(outcome: RefreshPostponed): Updateable<Tables["calendars"]> {
  const { failure, tokenDeaths, pageSize, state } = outcome;
  return {
    ...(failure === undefined
      ? {}
      : { consecutive_failures: failure.consecutive, last_failure_code: failure.code }),
    ...(outcome.dropUnfinished ? NO_LISTING : {}),
    ...(outcome.dropSyncToken ? { sync_token: null } : {}),
    ...(tokenDeaths === undefined
      ? {}
      : { token_deaths: tokenDeaths.count, last_token_death_at: tokenDeaths.lastAt }),
    ...(pageSize === undefined ? {} : { page_size: pageSize }),
    ...(state.kind === "slowed" ? { slowed_reason: state.reason, poll_kind: "slowed" } : {}),
    // Its channels are to be stopped.
    ...(state.kind === "lost" ? { lost_reason: state.reason, watch_due_at: outcome.dueAt } : {}),
  };
}

async function postpone(
  { database, trx }: { readonly database: Database; readonly trx: Trx },
  lease: RefreshLease,
  outcome: RefreshPostponed,
): Promise<"postponed" | "fenced-out"> {
  const { state } = outcome;
  // I6: what was asked for during the refresh keeps its own, earlier time.
  // Set aside, it does so only for who may hurry a slowed calendar: else each notification would bring it back.
  const mayHurry =
    state.kind === "slowed"
      ? sql`pending_class in (${rankOfClass("interactive")}, ${rankOfClass("backfill")})`
      : sql`true`;
  const asked = sql`(pending_due_at is not null and pending_due_at < ${outcome.dueAt} and ${mayHurry})`;
  const row = await trx
    .updateTable("calendars")
    .set({
      fence: sql`fence + 1`,
      lease_until: null,
      due_at:
        state.kind === "lost"
          ? null
          : sql`case when lost_reason is not null then null when ${asked} then pending_due_at else ${outcome.dueAt} end`,
      due_reason: sql`case when ${asked} then 'requested' else ${outcome.dueReason} end`,
      earlier_attempt: outcome.earlierAttempt,
      ...whatWasLearnt(outcome),
    })
    .where("id", "=", toStoredText(lease.calendarId))
    .where("fence", "=", lease.fence)
    .returning([
      "number",
      "id",
      "tenant_id",
      "account_id",
      "generation",
      "account_state",
      "due_at",
      "due_class",
    ])
    .executeTakeFirst();
  if (row === undefined) return "fenced-out";
  await unmarkQueued(trx, row);
  const of = { number: row.number, fence: lease.fence };
  if (outcome.run !== undefined) await noteRefresh(trx, of, outcome.run);
  if (state.kind === "lost") {
    const at = outcome.run?.at ?? outcome.dueAt;
    await noteChanges(database, trx, [calendarChange(row, { kind: "calendar-lost", at })]);
  }
  return "postponed";
}
