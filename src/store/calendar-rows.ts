import { sql, type RawBuilder, type Selectable, type SqlBool } from "kysely";
import { calendarState, FRESHNESS_TARGET_MS } from "../core/calendar-state.ts";
import type { CalendarRow, CalendarState, DueReason } from "../core/calendar-store.ts";
import { epochMs, type EpochMs } from "../core/clock.ts";
import { accountId, calendarId, googleCalendarId, projectId, tenantId } from "../core/ids.ts";
import { REQUEST_CLASSES, type RequestClass } from "../core/request.ts";
import { fromStoredText, fromStoredTextOrUndefined } from "./stored-text.ts";
import type { CalendarsTable } from "./tables.ts";

/** A row of `calendars` as it is read. */
export type StoredCalendar = Selectable<CalendarsTable>;

/** The class of a stored rank; ranks are places in `REQUEST_CLASSES`, 0 the most urgent. */
export function classOfRank(rank: number): RequestClass {
  return REQUEST_CLASSES[rank] ?? "backfill";
}

/** The stored rank of a class. */
export function rankOfClass(name: RequestClass): number {
  return REQUEST_CLASSES.indexOf(name);
}

/** A column that may be null as a moment. */
export function momentOf(ms: number | null): EpochMs | undefined {
  return ms === null ? undefined : epochMs(ms);
}

/** The reason column; only this store writes it. */
export function dueReasonOf(text: string): DueReason {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- written from a DueReason only
  return text as DueReason;
}

/** What a reader is told about this row now. */
export function stateOf(row: StoredCalendar, now: number): CalendarState {
  return calendarState(
    {
      lostReason: row.lost_reason ?? undefined,
      pausedReason: row.paused_reason ?? undefined,
      slowedReason: row.slowed_reason ?? undefined,
      generation: row.generation,
      unservedSince: momentOf(row.unserved_since),
      currentAsOf: momentOf(row.current_as_of),
      freshUntil: momentOf(row.fresh_until),
    },
    epochMs(now),
  );
}

/** Why a row is lost, paused or slowed: the reason of the state it is told to be in. */
export function stateReasonOf(row: StoredCalendar): string | undefined {
  return row.lost_reason ?? row.paused_reason ?? row.slowed_reason ?? undefined;
}

/**
 * `calendarState` as SQL, over the columns of `calendars`; the conformance suite holds the two
 * against each other.
 */
export function stateSql(now: number): RawBuilder<CalendarState> {
  return sql<CalendarState>`case
    when lost_reason is not null then 'lost'
    when paused_reason is not null then 'paused'
    when slowed_reason is not null then 'slowed'
    when generation = 0 then 'never'
    when ${now} - unserved_since > ${sql.lit(FRESHNESS_TARGET_MS)} then 'stale'
    when fresh_until is null or ${now} > fresh_until then 'stale'
    else 'fresh' end`;
}

/** `stateSql(now) = state`. */
export function hasState(state: CalendarState, now: number): RawBuilder<SqlBool> {
  return sql<SqlBool>`${stateSql(now)} = ${state}`;
}

interface Queued {
  /** Null: it is not hidden from claims. */
  readonly queued_until: number | null;
}

/** The row as the rest of the service sees it. */
export function toCalendarRow(row: StoredCalendar & Queued, now: number): CalendarRow {
  return {
    id: calendarId(row.id),
    projectId: projectId(fromStoredText(row.project_id)),
    tenantId: tenantId(fromStoredText(row.tenant_id)),
    accountId: accountId(row.account_id),
    googleId: googleCalendarId(fromStoredText(row.google_id)),
    summary: fromStoredTextOrUndefined(row.summary),
    timeZone: fromStoredTextOrUndefined(row.time_zone),
    accessRole: fromStoredTextOrUndefined(row.access_role),
    isPrimary: row.is_primary === 1,
    isHidden: row.is_hidden === 1,
    state: stateOf(row, now),
    stateReason: stateReasonOf(row),
    generation: row.generation,
    publishedAt: momentOf(row.published_at),
    currentAsOf: momentOf(row.current_as_of),
    requested: row.requested,
    served: row.served,
    dueAt: momentOf(row.due_at),
    dueClass: classOfRank(row.due_class),
    dueReason: dueReasonOf(row.due_reason),
    queuedUntil: momentOf(row.queued_until),
    consecutiveFailures: row.consecutive_failures,
    tokenDeaths: row.token_deaths,
    lastTokenDeathAt: momentOf(row.last_token_death_at),
    hasUnfinishedRefresh: row.listing_kind !== null,
    pageSize: row.page_size,
  };
}
