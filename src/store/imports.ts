import { sql, type Selectable } from "kysely";
import type { Clock } from "../core/clock.ts";
import type {
  ImportEntry,
  ImportOptions,
  ImportStore,
  ImportVerdict,
} from "../core/import-store.ts";
import { calendarId } from "../core/ids.ts";
import { connectAccount } from "./accounts.ts";
import type { Mirror } from "./busy-mirror.ts";
import { rankOfClass } from "./calendar-rows.ts";
import type { Database, Reader, Trx } from "./database.ts";
import { newId } from "./new-id.ts";
import { calendarChange, noteChanges } from "./note-changes.ts";
import { hashOfCalendar } from "./removal-scope.ts";
import { openGrant } from "./stored-grants.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";
import type { AccountsTable } from "./tables.ts";
import { VaultKeyError, type Vault } from "./vault.ts";

interface ImportDeps {
  readonly database: Database;
  readonly vault: Vault;
  readonly clock: Clock;
  readonly mirror: Mirror;
}

/** Imports, in the database. */
export function createImportStore(deps: ImportDeps): ImportStore {
  const { database } = deps;
  return {
    judge: (entries, options) =>
      database.snapshot(async (trx) => {
        const known = await readKnown(deps, trx, entries);
        return entries.map((entry) => judge(entry, known, { ...deps, ...options }));
      }),
    store: (entries, options) =>
      database.write((trx) => storeEntries({ ...deps, trx }, entries, options)),
    async sampleShadow(limit) {
      const { rows } = await database.read((db) =>
        sql<{ id: string }>`
          select id from calendars
          where is_shadow = 1 and generation > 0 and lost_reason is null and account_state = 'connected'
          order by random() limit ${limit}`.execute(db),
      );
      return rows.map(({ id }) => calendarId(id));
    },
    async shadowCounts() {
      const { rows } = await database.read((db) =>
        sql<{ accounts: number; calendars: number; published: number }>`
          select (select count(*) from accounts where is_shadow = 1) as accounts,
            count(*) as calendars, count(case when generation > 0 then 1 end) as published
          from calendars where is_shadow = 1`.execute(db),
      );
      return rows[0] ?? { accounts: 0, calendars: 0, published: 0 };
    },
  };
}

interface Known {
  readonly accounts: ReadonlyMap<string, Selectable<AccountsTable>>;
  /** By account, Google's ids of its calendars. */
  readonly calendars: ReadonlyMap<string, ReadonlySet<string>>;
  /** Tenants, and accounts by our id, that are being removed. */
  readonly leaving: ReadonlySet<string>;
}

function keyOf(tenant: string, name: string): string {
  return JSON.stringify([tenant, name]);
}

/** A few statements for all of them. */
async function readKnown(
  { database }: ImportDeps,
  db: Reader,
  entries: readonly ImportEntry[],
): Promise<Known> {
  const source = database.dialect.rowsFrom(
    entries.map((entry) => ({
      of_tenant: toStoredText(entry.tenantId),
      of_name: toStoredText(entry.name),
    })),
    { of_tenant: "text", of_name: "text" },
  );
  const { rows: accounts } = await sql<Selectable<AccountsTable>>`
    select a.* from ${source} cross join accounts as a
    where a.tenant_id = r.of_tenant and a.name = r.of_name`.execute(db);
  const ids = accounts.map(({ id }) => id);
  const calendars = new Map<string, Set<string>>();
  if (ids.length > 0) {
    const rows = await db
      .selectFrom("calendars")
      .select(["account_id", "google_id"])
      .where("account_id", "in", ids)
      .where("account_state", "<>", "removed")
      .execute();
    for (const { account_id: id, google_id: googleId } of rows) {
      calendars.set(id, (calendars.get(id) ?? new Set()).add(googleId));
    }
  }
  const removals = await db
    .selectFrom("removals")
    .select(["kind", "tenant_id", "account_id"])
    .where("kind", "<>", "calendar")
    .execute();
  return {
    accounts: new Map(accounts.map((row) => [keyOf(row.tenant_id, row.name), row])),
    calendars,
    leaving: new Set(removals.map((row) => row.account_id ?? row.tenant_id)),
  };
}

const SERVED: ImportVerdict = {
  kind: "refused",
  problem: "is served already: --shadow is for accounts that are not",
};

function judge(
  entry: ImportEntry,
  { accounts, calendars, leaving }: Known,
  { vault, isShadow }: { readonly vault: Vault; readonly isShadow: boolean },
): ImportVerdict {
  const tenant = toStoredText(entry.tenantId);
  const known = accounts.get(keyOf(tenant, toStoredText(entry.name)));
  if (leaving.has(tenant) || (known !== undefined && isLeaving(known, leaving))) {
    return { kind: "refused", problem: "is being removed: wait until that has ended" };
  }
  if (known === undefined) return { kind: "new" };
  if (isShadow !== (known.is_shadow === 1)) return isShadow ? SERVED : { kind: "promoted" };
  const isSame = hasGrant(known, entry, vault) && hasAll(known, entry, calendars.get(known.id));
  return { kind: isSame ? "unchanged" : "changed" };
}

function isLeaving(
  { id, connection }: Selectable<AccountsTable>,
  leaving: Known["leaving"],
): boolean {
  return leaving.has(id) || connection === "removed";
}

function hasAll(
  known: Selectable<AccountsTable>,
  { scopes, calendars }: ImportEntry,
  listed: ReadonlySet<string> = new Set(),
): boolean {
  if (scopes.length > 0 && scopes.join(" ") !== known.scopes) return false;
  return calendars.every((id) => listed.has(toStoredText(id)));
}

function hasGrant(row: Selectable<AccountsTable>, entry: ImportEntry, vault: Vault): boolean {
  try {
    const grant = openGrant(row, row.id, vault);
    return grant?.kind === "refresh-token" && grant.refreshToken === entry.refreshToken;
  } catch (error) {
    // No key opens it: what the file brings is better than that.
    if (error instanceof VaultKeyError) return false;
    throw error;
  }
}

type Place = ImportDeps & { readonly trx: Trx };

async function storeEntries(
  place: Place,
  entries: readonly ImportEntry[],
  options: ImportOptions,
): Promise<readonly ImportVerdict[]> {
  const { trx } = place;
  const known = await readKnown(place, trx, entries);
  const verdicts = new Map<ImportEntry, ImportVerdict>();
  // In one order: two imports at once take their tenants' locks one after the other.
  for (const entry of entries.toSorted((a, b) => (a.tenantId < b.tenantId ? -1 : 1))) {
    const verdict = judge(entry, known, { ...place, ...options });
    verdicts.set(entry, verdict);
    if (verdict.kind !== "unchanged" && verdict.kind !== "refused") {
      await storeEntry(place, { entry, verdict, known }, options);
    }
  }
  return entries.map((entry) => verdicts.get(entry) ?? { kind: "unchanged" });
}

async function storeEntry(
  place: Place,
  of: { readonly entry: ImportEntry; readonly verdict: ImportVerdict; readonly known: Known },
  { projectId, isShadow, now }: ImportOptions,
): Promise<void> {
  const { trx } = place;
  const { entry, verdict, known } = of;
  const { tenantId, name, quotaUser, refreshToken } = entry;
  const before = known.accounts.get(keyOf(toStoredText(tenantId), toStoredText(name)));
  const scopes = entry.scopes.length === 0 && before ? before.scopes.split(" ") : entry.scopes;
  const connection = { projectId, tenantId, name, quotaUser, refreshToken, scopes, now };
  const { id } = await connectAccount(place, trx, { ...connection, isShadow });
  if (before?.discovered_at === undefined || before.discovered_at === null) {
    await trx
      .updateTable("accounts")
      .set({ first_class: rankOfClass("backfill") })
      .where("id", "=", id)
      .execute();
  }
  const added = await addCalendars(
    place,
    { entry, id, listed: known.calendars.get(id) },
    { isShadow, now },
  );
  await addChannels(trx, { entry, id }, now);
  const told = verdict.kind === "promoted" ? await promote(trx, id) : isShadow ? [] : added;
  // Last: from here to the commit nobody else numbers changes of the tenant.
  const changes = told.map((row) => calendarChange(row, { kind: "calendar-added", at: now }));
  const copies = verdict.kind === "promoted" ? told.filter((row) => row.generation > 0) : [];
  await noteChanges(place.database, trx, [
    ...changes,
    ...copies.map((row) => calendarChange(row, { kind: "calendar-replaced", at: now })),
  ]);
}

type TellableCalendar = Parameters<typeof calendarChange>[0];

const TOLD = ["id", "tenant_id", "account_id", "generation"] as const;

async function promote(trx: Trx, accountId: string): Promise<readonly TellableCalendar[]> {
  return trx
    .updateTable("calendars")
    .set({ is_shadow: 0 })
    .where("account_id", "=", accountId)
    .returning(TOLD)
    .execute();
}

async function addCalendars(
  { trx }: Place,
  of: {
    readonly entry: ImportEntry;
    readonly id: string;
    readonly listed: ReadonlySet<string> | undefined;
  },
  { isShadow, now }: { readonly isShadow: boolean; readonly now: number },
): Promise<readonly TellableCalendar[]> {
  const missing = [...new Set(of.entry.calendars.map(toStoredText))].filter(
    (googleId) => of.listed?.has(googleId) !== true,
  );
  if (missing.length === 0) return [];
  const account = await trx
    .selectFrom("accounts")
    .select(["project_id", "tenant_id", "connection", "paused_reason"])
    .where("id", "=", of.id)
    .executeTakeFirstOrThrow();
  const hashes = missing.map((googleId) => hashOfCalendar(of.id, googleId));
  await trx
    .deleteFrom("excluded_calendars")
    .where("account_id", "=", of.id)
    .where("google_hash", "in", hashes)
    .execute();
  return trx
    .insertInto("calendars")
    .values(
      missing.map((googleId) => ({
        id: newId("cal", now),
        project_id: account.project_id,
        tenant_id: account.tenant_id,
        account_id: of.id,
        google_id: googleId,
        summary: null,
        time_zone: null,
        access_role: null,
        is_primary: 0,
        is_hidden: 0,
        account_state: account.paused_reason === null ? account.connection : "paused",
        paused_reason: account.paused_reason,
        due_at: now,
        due_class: rankOfClass("backfill"),
        due_reason: "first-sync",
        watch_due_at: now,
        is_shadow: isShadow ? 1 : 0,
      })),
    )
    .returning(TOLD)
    .execute();
}

/** As channels to be stopped, of the calendar that they are for: stopped as ours are. */
async function addChannels(
  trx: Trx,
  { entry, id }: { readonly entry: ImportEntry; readonly id: string },
  now: number,
): Promise<void> {
  if (entry.channels.length === 0) return;
  const rows = await trx
    .selectFrom("calendars")
    .select(["id", "google_id"])
    .where("account_id", "=", id)
    .execute();
  const ids = new Map(rows.map((row) => [fromStoredText(row.google_id), row.id]));
  const channels = entry.channels.flatMap((channel) => {
    const calendar = ids.get(channel.googleId);
    return calendar === undefined
      ? []
      : [
          {
            id: channel.id,
            calendar_id: calendar,
            resource_id: channel.resourceId,
            expires_at: null,
            state: "stopping" as const,
            created_at: now,
            last_message_at: null,
          },
        ];
  });
  if (channels.length === 0) return;
  await trx
    .insertInto("channels")
    .values(channels)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await trx
    .updateTable("calendars")
    .set({ watch_due_at: now })
    .where(
      "id",
      "in",
      channels.map((channel) => channel.calendar_id),
    )
    .execute();
}
