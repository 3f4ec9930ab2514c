import { sql, type Selectable } from "kysely";
import type { DiscoveredChanges, DiscoveryLease, DiscoveryResult } from "../core/account-store.ts";
import type { CalendarListEntry } from "../core/google-event.ts";
import type { Mirror } from "./busy-mirror.ts";
import { rankOfClass, type StoredCalendar } from "./calendar-rows.ts";
import type { Database, Trx } from "./database.ts";
import { newId } from "./new-id.ts";
import { learnQuotaUser } from "./quota-users.ts";
import { calendarChange, noteChanges, type NotedChange } from "./note-changes.ts";
import { hashOfCalendar } from "./removal-scope.ts";
import { forgetQueued } from "./queued-calendars.ts";
import { fromStoredTextOrUndefined, toStoredText, toStoredTextOrNull } from "./stored-text.ts";
import type { AccountsTable } from "./tables.ts";

/** Reasons of a lost calendar that discovery decides, and that finding it again undoes. */
const REMOVED = "removed-from-list";
const MISSING = "missing-from-list";

interface ListPlace {
  readonly database: Database;
  readonly mirror: Mirror;
  readonly trx: Trx;
}

/** Write what a calendar list says, and move the list's token, in the caller's transaction. */
export async function applyCalendarList(
  place: ListPlace,
  lease: DiscoveryLease,
  result: DiscoveryResult,
): Promise<
  | { readonly kind: "applied"; readonly changes: DiscoveredChanges }
  | { readonly kind: "fenced-out" }
> {
  const { database, trx } = place;
  const account = await trx
    .selectFrom("accounts")
    .selectAll()
    .where("id", "=", toStoredText(lease.accountId))
    .where("discovery_fence", "=", lease.fence)
    .modifyEnd(database.dialect.forUpdate)
    .executeTakeFirst();
  if (account === undefined) return { kind: "fenced-out" };
  const known = await trx
    .selectFrom("calendars")
    .selectAll()
    .where("account_id", "=", account.id)
    .execute();
  const byGoogleId = new Map(known.map((row) => [row.google_id, row]));
  const excluded = await excludedOf(trx, account.id);
  const listing: Listing = { ...place, account, result, byGoogleId, excluded, noted: [] };
  const changes = { added: 0, changed: 0, lost: 0, returned: 0 };
  // The last entry of an id wins, as on a list read page by page.
  const entries = new Map(result.entries.map((entry) => [toStoredText(entry.googleId), entry]));
  for (const [googleId, entry] of entries) {
    const effect = await applyEntry(listing, googleId, entry);
    if (effect !== "none") changes[effect] += 1;
  }
  const absent = await markAbsent(listing, new Set(entries.keys()));
  changes.lost += absent.lost;
  await learnQuotaUser(trx, account, primaryOf(entries.values(), known));
  await moveListMarks(listing, absent.suspected > 0);
  if (account.is_shadow === 0) await noteChanges(database, trx, listing.noted);
  return { kind: "applied", changes };
}

/** A delta names it only when it changed; then it is known already. */
function primaryOf(
  entries: Iterable<CalendarListEntry>,
  known: readonly StoredCalendar[],
): string | undefined {
  for (const { isPrimary, isDeleted, googleId } of entries) {
    if (isPrimary && !isDeleted) return googleId;
  }
  return fromStoredTextOrUndefined(
    known.find((row) => row.is_primary === 1 && row.lost_reason === null)?.google_id ?? null,
  );
}

interface Listing extends ListPlace {
  readonly account: Selectable<AccountsTable>;
  readonly result: DiscoveryResult;
  readonly byGoogleId: ReadonlyMap<string, StoredCalendar>;
  /** Hashes of those that were removed one by one. */
  readonly excluded: ReadonlySet<string>;
  /** For the feed. */
  readonly noted: NotedChange[];
}

function note(
  { account, result, noted }: Listing,
  kind: NotedChange["kind"],
  calendar: Pick<StoredCalendar, "id" | "generation">,
): void {
  const { tenant_id, id: account_id } = account;
  noted.push(calendarChange({ ...calendar, tenant_id, account_id }, { kind, at: result.now }));
}

async function applyEntry(
  listing: Listing,
  googleId: string,
  entry: CalendarListEntry,
): Promise<keyof DiscoveredChanges | "none"> {
  const row = listing.byGoogleId.get(googleId);
  if (entry.isDeleted) {
    if (row === undefined || row.lost_reason !== null) return "none";
    await loseCalendar(listing, row, REMOVED);
    return "lost";
  }
  const facts = factsOf(entry, listing.mirror);
  if (row === undefined) {
    if (listing.excluded.has(hashOfCalendar(listing.account.id, googleId))) return "none";
    await addCalendar(listing, googleId, facts);
    return "added";
  }
  const hasReturned = row.lost_reason !== null;
  const hasChanged = Object.entries(facts).some(
    ([name, value]) => Object.entries(row).find(([column]) => column === name)?.[1] !== value,
  );
  if (!hasReturned && !hasChanged && row.absent_once === 0) return "none";
  await listing.trx
    .updateTable("calendars")
    .set({
      ...facts,
      absent_once: 0,
      ...(hasReturned
        ? {
            lost_reason: null,
            // A loss is confirmed by two answers in a row: those before the return are over.
            last_failure_code: null,
            consecutive_failures: 0,
            due_at: listing.result.now,
            due_reason: "requested",
            watch_due_at: listing.result.now,
          }
        : {}),
    })
    .where("number", "=", row.number)
    .execute();
  if (hasReturned) {
    note(listing, "calendar-returned", row);
    return "returned";
  }
  return hasChanged ? "changed" : "none";
}

async function excludedOf(trx: Trx, accountId: string): Promise<ReadonlySet<string>> {
  const rows = await trx
    .selectFrom("excluded_calendars")
    .select("google_hash")
    .where("account_id", "=", accountId)
    .execute();
  return new Set(rows.map(({ google_hash: hash }) => hash));
}

function factsOf(
  entry: CalendarListEntry,
  mirror: Mirror,
): Pick<StoredCalendar, "summary" | "time_zone" | "access_role" | "is_primary" | "is_hidden"> {
  return {
    summary: mirror.keepsTitles ? toStoredTextOrNull(entry.summary) : null,
    time_zone: toStoredTextOrNull(entry.timeZone),
    access_role: toStoredTextOrNull(entry.accessRole),
    is_primary: entry.isPrimary ? 1 : 0,
    is_hidden: entry.isHidden ? 1 : 0,
  };
}

async function addCalendar(
  listing: Listing,
  googleId: string,
  facts: ReturnType<typeof factsOf>,
): Promise<void> {
  const { trx, account, result } = listing;
  const id = newId("cal", result.now);
  const isPaused = account.paused_reason !== null;
  await trx
    .insertInto("calendars")
    .values({
      id,
      project_id: account.project_id,
      tenant_id: account.tenant_id,
      account_id: account.id,
      google_id: googleId,
      ...facts,
      account_state: isPaused ? "paused" : account.connection,
      paused_reason: account.paused_reason,
      due_at: result.now,
      due_class: account.first_class,
      due_reason: "first-sync",
      is_shadow: account.is_shadow,
      watch_due_at: result.now,
    })
    .execute();
  note(listing, "calendar-added", { id, generation: 0 });
}

async function loseCalendar(
  listing: Listing,
  row: Pick<StoredCalendar, "number" | "id" | "generation">,
  reason: string,
): Promise<void> {
  await listing.trx
    .updateTable("calendars")
    .set({
      lost_reason: reason,
      due_at: null,
      // Its channels are to be stopped.
      watch_due_at: listing.result.now,
    })
    .where("number", "=", row.number)
    .execute();
  await forgetQueued(listing.trx, row.number);
  note(listing, "calendar-lost", row);
}

/** What a full list does not hold: suspected the first time, lost the second. */
async function markAbsent(
  listing: Listing,
  listed: ReadonlySet<string>,
): Promise<{ readonly lost: number; readonly suspected: number }> {
  const { trx, result, byGoogleId } = listing;
  const absences = { lost: 0, suspected: 0 };
  if (result.kind !== "full") return absences;
  for (const [googleId, row] of byGoogleId) {
    if (listed.has(googleId) || row.lost_reason !== null) continue;
    if (row.absent_once === 1) {
      await loseCalendar(listing, row, MISSING);
      absences.lost += 1;
    } else {
      await trx
        .updateTable("calendars")
        .set({ absent_once: 1 })
        .where("number", "=", row.number)
        .execute();
      absences.suspected += 1;
    }
  }
  return absences;
}

async function moveListMarks(
  { trx, account, result }: Listing,
  mustConfirm: boolean,
): Promise<void> {
  const isUnserved = account.discovery_requested > result.served;
  const nextDueAt = mustConfirm ? Math.min(result.confirmAt, result.nextDueAt) : result.nextDueAt;
  await trx
    .updateTable("accounts")
    .set({
      discovery_fence: sql`discovery_fence + 1`,
      discovery_lease_until: null,
      discovery_queued_until: null,
      discovery_served: result.served,
      discovered_at: result.now,
      discovery_due_at: isUnserved ? result.now : nextDueAt,
      discovery_reason: mustConfirm ? "confirm-lost" : "poll",
      discovery_earlier_attempt: "none",
      discovery_failures: 0,
      discovery_failure_code: null,
      // What comes later comes one by one.
      first_class: rankOfClass("poll"),
      // A delta does not name what is absent: the answer that confirms has to be a full list.
      list_sync_token: mustConfirm ? null : toStoredText(result.syncToken),
      list_fingerprint: result.queryFingerprint,
    })
    .where("id", "=", account.id)
    .execute();
}
