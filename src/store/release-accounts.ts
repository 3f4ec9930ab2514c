import { sql } from "kysely";
import { accountId } from "../core/ids.ts";
import type {
  AccountRelease,
  AccountReleased,
  ReleasePostponed,
  RemovalStore,
} from "../core/removal-store.ts";
import type { EarlierAttempt } from "../core/request.ts";
import type { Trx } from "./database.ts";
import { isAccountOf, isCalendarOf } from "./removal-scope.ts";
import type { StoredRemoval } from "./removal-rows.ts";

/**
 * Accounts of a removal that still have credentials; of a calendar's removal its account, while there are channels.
 * What stands if this process dies now: the next call of each is a retry.
 */
export async function beginReleases(
  trx: Trx,
  removal: StoredRemoval,
  page: Parameters<RemovalStore["beginReleases"]>[1],
): Promise<readonly AccountRelease[]> {
  if (removal.kind === "calendar") return beginCalendar(trx, removal, page.after);
  const accounts = await trx
    .selectFrom("accounts")
    .select(["id", "discovery_earlier_attempt", isConsentShared().as("is_shared")])
    .where(isAccountOf(removal))
    .where("connection", "=", "removed")
    .where("grant_sealed", "is not", null)
    .$if(page.after !== undefined, (query) => query.where("id", ">", page.after ?? ""))
    .orderBy("id")
    .limit(page.limit)
    .execute();
  if (accounts.length === 0) return [];
  const ids = accounts.map(({ id }) => id);
  await setMarks(trx, ids, "reached-google");
  const channels = await channelsOf(trx, ids);
  return accounts.map((account) => ({
    accountId: accountId(account.id),
    isLeaving: true,
    channels: channels.filter((channel) => channel.accountId === account.id),
    revocation:
      removal.is_revoking === 0 ? "not-wanted" : account.is_shared === 1 ? "shared" : "wanted",
    earlierAttempt: account.discovery_earlier_attempt,
  }));
}

async function setMarks(
  trx: Trx,
  ids: readonly string[],
  earlierAttempt: EarlierAttempt,
): Promise<void> {
  if (ids.length === 0) return;
  await trx
    .updateTable("accounts")
    .set({ discovery_earlier_attempt: earlierAttempt })
    .where("id", "in", ids)
    .where("connection", "=", "removed")
    .execute();
}

async function setMarkOfCalendar(
  trx: Trx,
  { id }: StoredRemoval,
  earlierAttempt: EarlierAttempt,
): Promise<void> {
  await trx
    .updateTable("removals")
    .set({ earlier_attempt: earlierAttempt })
    .where("id", "=", id)
    .execute();
}

/** Google ends a person's whole consent to our client, not the one token: whoever else lives on it would lose access. */
function isConsentShared() {
  return sql<number>`case when exists (
    select 1 from accounts as other
    where other.project_id = accounts.project_id and other.id <> accounts.id
      and other.connection <> 'removed'
      and (other.quota_user = accounts.quota_user or other.primary_hash = accounts.primary_hash)
  ) then 1 else 0 end`;
}

async function beginCalendar(
  trx: Trx,
  removal: StoredRemoval,
  after: string | undefined,
): Promise<readonly AccountRelease[]> {
  const { account_id: id } = removal;
  if (id === null || after !== undefined) return [];
  const channels = await trx
    .selectFrom("channels")
    .select(["id", "resource_id"])
    .where("calendar_id", "=", removal.calendar_id)
    .orderBy("id")
    .execute();
  if (channels.length === 0) return [];
  await setMarkOfCalendar(trx, removal, "reached-google");
  return [
    {
      accountId: accountId(id),
      isLeaving: false,
      channels: channels.map((row) => ({ id: row.id, resourceId: row.resource_id ?? undefined })),
      revocation: "not-wanted",
      earlierAttempt: removal.earlier_attempt,
    },
  ];
}

async function channelsOf(
  trx: Trx,
  accounts: readonly string[],
): Promise<readonly (AccountRelease["channels"][number] & { readonly accountId: string })[]> {
  const rows = await trx
    .selectFrom("channels")
    .innerJoin("calendars", "calendars.id", "channels.calendar_id")
    .select(["channels.id", "channels.resource_id", "calendars.account_id"])
    .where("calendars.account_id", "in", accounts)
    .orderBy("channels.id")
    .execute();
  return rows.map((row) => ({
    id: row.id,
    resourceId: row.resource_id ?? undefined,
    accountId: row.account_id,
  }));
}

/** Forget their channels, erase their credentials, and add up what was done. */
export async function releaseAccounts(
  trx: Trx,
  removal: StoredRemoval,
  {
    released,
    postponed,
  }: {
    readonly released: readonly AccountReleased[];
    readonly postponed: readonly ReleasePostponed[];
  },
): Promise<void> {
  for (const { accountId: id, isLeaving, earlierAttempt } of postponed) {
    await (isLeaving
      ? setMarks(trx, [id], earlierAttempt)
      : setMarkOfCalendar(trx, removal, earlierAttempt));
  }
  if (released.length === 0) return;
  const leaving = released.filter(({ isLeaving }) => isLeaving).map(({ accountId: id }) => id);
  if (leaving.length > 0) {
    await trx
      .updateTable("accounts")
      .set({ grant_sealed: null, grant_key: null })
      .where("id", "in", leaving)
      .where("connection", "=", "removed")
      .execute();
  }
  const ids = released.map(({ accountId: id }) => id);
  await trx
    .deleteFrom("channels")
    .where("calendar_id", "in", (inner) =>
      inner
        .selectFrom("calendars")
        .select("calendars.id")
        .where(isCalendarOf(removal))
        .where("calendars.account_id", "in", ids),
    )
    .execute();
  const sum = (of: (one: AccountReleased) => number): number =>
    released.reduce((total, one) => total + of(one), 0);
  await trx
    .updateTable("removals")
    .set({
      channels_stopped: sql`channels_stopped + ${sum((one) => one.channelsStopped)}`,
      channels_left: sql`channels_left + ${sum((one) => one.channelsLeft)}`,
      tokens_revoked: sql`tokens_revoked + ${sum((one) => one.tokensRevoked)}`,
      tokens_left: sql`tokens_left + ${sum((one) => one.tokensLeft)}`,
    })
    .where("id", "=", removal.id)
    .execute();
}
