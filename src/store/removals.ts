import { sql } from "kysely";
import type { Clock } from "../core/clock.ts";
import type {
  RemovalAsked,
  RemovalCounts,
  RemovalLease,
  RemovalStore,
  RemovalTarget,
} from "../core/removal-store.ts";
import type { Database, Trx } from "./database.ts";
import { eraseRows } from "./erase-rows.ts";
import { markAccounts, markCalendar } from "./mark-removed.ts";
import { newId } from "./new-id.ts";
import { appendEntry } from "./operator-log.ts";
import { previewRemoval } from "./preview-removal.ts";
import { beginReleases, releaseAccounts } from "./release-accounts.ts";
import { findRemoval } from "./removal-scope.ts";
import {
  fromStoredText,
  fromStoredTextOrUndefined,
  toStoredText,
  toStoredTextOrNull,
} from "./stored-text.ts";
import { countsOf, subjectOf, toRow, type StoredRemoval } from "./removal-rows.ts";

/*
 * A removal's row: asked (stage marking or releasing, due) → leased (fence + 1) → put back in the same stage or the
 * next one, with a due time → … → deleted. A lease ends by being put back, by finishing, or by its time; each
 * transaction in between checks the fence, and does nothing twice that would count.
 */

interface RemovalDeps {
  readonly database: Database;
  readonly clock: Clock;
}

/** Removals, in the database. */
export function createRemovalStore(deps: RemovalDeps): RemovalStore {
  const { database } = deps;
  return {
    preview: (target) => previewRemoval(database, target),
    ask: (target, by) => database.write((trx) => ask(database, trx, { target, by })),
    async list(limit) {
      const rows = await database.read((db) =>
        db
          .selectFrom("removals")
          .selectAll()
          .orderBy("asked_at")
          .orderBy("id")
          .limit(limit)
          .execute(),
      );
      return rows.map(toRow);
    },
    async get(id) {
      const row = await database.read((db) =>
        db.selectFrom("removals").selectAll().where("id", "=", id).executeTakeFirst(),
      );
      return row === undefined ? undefined : toRow(row);
    },
    markSome: (id, page) =>
      database.write(async (trx) => {
        const row = await hold(database, trx, { id });
        if (row?.stage !== "marking") return 0;
        const marked = await markAccounts({ database, trx }, row, page);
        if (marked === 0) {
          await trx
            .updateTable("removals")
            .set({ stage: "releasing" })
            .where("id", "=", id)
            .execute();
        }
        return marked;
      }),
    ...work(deps),
    scrub: () => database.scrub(),
  };
}

type Work = "claimDue" | "begin" | "beginReleases" | "release" | "eraseSome" | "putBack" | "finish";

function work({ database }: RemovalDeps): Pick<RemovalStore, Work> {
  return {
    claimDue: (query) => claimDue(database, query),
    begin: (id, lease) => database.write((trx) => begin(database, trx, { id, ...lease })),
    beginReleases: (lease, page) =>
      database.write(async (trx) => {
        const row = await hold(database, trx, { id: lease.removalId, fence: lease.fence });
        return row === undefined ? "fenced-out" : beginReleases(trx, row, page);
      }),
    release: (lease, released, postponed) =>
      database.write(async (trx) => {
        const row = await hold(database, trx, { id: lease.removalId, fence: lease.fence });
        if (row === undefined) return "fenced-out";
        await releaseAccounts(trx, row, { released, postponed });
        return "released";
      }),
    eraseSome: (lease, limit) =>
      database.write(async (trx) => {
        const row = await hold(database, trx, { id: lease.removalId, fence: lease.fence });
        if (row === undefined) return "fenced-out";
        const erased = await eraseRows({ database, trx }, row, limit);
        await trx
          .updateTable("removals")
          .set({ erased_rows: sql`erased_rows + ${erased}` })
          .where("id", "=", row.id)
          .execute();
        return erased;
      }),
    putBack: (lease, { stage, dueAt }) =>
      database.write(async (trx) => {
        const row = await hold(database, trx, { id: lease.removalId, fence: lease.fence });
        if (row === undefined) return "fenced-out";
        await trx
          .updateTable("removals")
          .set({
            stage,
            due_at: dueAt,
            queued_until: null,
            lease_until: null,
            fence: sql`fence + 1`,
          })
          .where("id", "=", row.id)
          .execute();
        return "put-back";
      }),
    finish: (lease, end) => database.write((trx) => finish(database, trx, { lease, ...end })),
  };
}

async function ask(
  database: Database,
  trx: Trx,
  {
    target,
    by,
  }: { readonly target: RemovalTarget; readonly by: Parameters<RemovalStore["ask"]>[1] },
): Promise<RemovalAsked> {
  const found = await locate(database, trx, target);
  if (found === undefined) return { kind: "unknown" };
  const running = await findRemoval(trx, found);
  if (running !== undefined) return { kind: "asked-before", removal: toRow(running) };
  const row = await trx
    .insertInto("removals")
    .values({
      id: newId("rem", by.now),
      kind: target.kind,
      ...found,
      is_revoking: by.isRevoking ? 1 : 0,
      reason: toStoredTextOrNull(by.reason),
      asked_by: toStoredText(by.actor),
      asked_at: by.now,
      stage: target.kind === "tenant" ? "marking" : "releasing",
      due_at: by.now,
      queued_until: null,
      lease_until: null,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  if (target.kind === "tenant") {
    await trx.deleteFrom("api_tokens").where("tenant_id", "=", found.tenant_id).execute();
  }
  await appendEntry(trx, {
    at: by.now,
    actor: by.actor,
    action: `${target.kind}.removal-asked`,
    subject: subjectOf(row),
    reason: by.reason,
    details: { removal: row.id, tenant: fromStoredText(row.tenant_id), revoke: by.isRevoking },
  });
  const place = { database, trx };
  if (target.kind === "account") await markAccounts(place, row, { limit: 1, now: by.now });
  // Last: it numbers changes of the feed, from whose lock to the commit others wait.
  if (target.kind === "calendar") await markCalendar(place, row, by.now);
  return { kind: "asked", removal: toRow(row) };
}

type Located = Pick<StoredRemoval, "tenant_id" | "account_id" | "calendar_id">;

/** Under its tenant's lock, so that nothing is connected meanwhile. */
async function locate(
  database: Database,
  trx: Trx,
  target: RemovalTarget,
): Promise<Located | undefined> {
  const found = await targetIds(trx, target);
  if (found === undefined) return undefined;
  const tenant = await trx
    .selectFrom("tenants")
    .select("id")
    .where("id", "=", found.tenant_id)
    .modifyEnd(database.dialect.forUpdate)
    .executeTakeFirst();
  return tenant === undefined ? undefined : found;
}

async function targetIds(trx: Trx, target: RemovalTarget): Promise<Located | undefined> {
  if (target.kind === "tenant") {
    return { tenant_id: toStoredText(target.tenantId), account_id: null, calendar_id: null };
  }
  if (target.kind === "account") {
    const row = await trx
      .selectFrom("accounts")
      .select(["tenant_id", "id"])
      .where("id", "=", toStoredText(target.accountId))
      .executeTakeFirst();
    return row && { tenant_id: row.tenant_id, account_id: row.id, calendar_id: null };
  }
  const row = await trx
    .selectFrom("calendars")
    .select(["tenant_id", "account_id", "id"])
    .where("id", "=", toStoredText(target.calendarId))
    .executeTakeFirst();
  return row && { tenant_id: row.tenant_id, account_id: row.account_id, calendar_id: row.id };
}

async function hold(
  database: Database,
  trx: Trx,
  { id, fence }: { readonly id: string; readonly fence?: number },
): Promise<StoredRemoval | undefined> {
  return trx
    .selectFrom("removals")
    .selectAll()
    .where("id", "=", id)
    .$if(fence !== undefined, (query) => query.where("fence", "=", fence ?? 0))
    .modifyEnd(database.dialect.forUpdate)
    .executeTakeFirst();
}

async function claimDue(
  database: Database,
  { now, atOnce, queuedForMs }: Parameters<RemovalStore["claimDue"]>[0],
): Promise<string | undefined> {
  // A look first: most of the time nothing is being removed, and a write would wait for other writers.
  const isDue = sql<boolean>`due_at <= ${now} and (queued_until is null or queued_until <= ${now})
    and (lease_until is null or lease_until <= ${now})`;
  const some = await database.read((db) =>
    db.selectFrom("removals").select("id").where(isDue).limit(1).executeTakeFirst(),
  );
  if (some === undefined) return undefined;
  const row = await database.write(async (trx) => {
    await database.dialect.excludeOthers(trx, "claim");
    const { busy } = await trx
      .selectFrom("removals")
      .select(sql<number>`count(*)`.as("busy"))
      .where(sql<boolean>`queued_until > ${now} or lease_until > ${now}`)
      .executeTakeFirstOrThrow();
    if (busy >= atOnce) return undefined;
    return trx
      .updateTable("removals")
      .set({ queued_until: now + queuedForMs })
      .where("id", "in", (inner) =>
        inner.selectFrom("removals").select("id").where(isDue).orderBy("due_at").limit(1),
      )
      .returning("id")
      .executeTakeFirst();
  });
  return row?.id;
}

async function begin(
  database: Database,
  trx: Trx,
  { id, now, until }: { readonly id: string; readonly now: number; readonly until: number },
): ReturnType<RemovalStore["begin"]> {
  const row = await hold(database, trx, { id });
  if (row === undefined || row.due_at > now) return undefined;
  if (row.lease_until !== null && row.lease_until > now) return undefined;
  const fence = row.fence + 1;
  await trx
    .updateTable("removals")
    .set({ fence, lease_until: until, queued_until: null })
    .where("id", "=", id)
    .execute();
  return { lease: { removalId: id, fence }, removal: toRow(row) };
}

async function finish(
  database: Database,
  trx: Trx,
  { lease, now, scrub }: { readonly lease: RemovalLease } & Parameters<RemovalStore["finish"]>[1],
): Promise<RemovalCounts | "fenced-out"> {
  const row = await hold(database, trx, { id: lease.removalId, fence: lease.fence });
  if (row === undefined) return "fenced-out";
  const counts = countsOf(row);
  await trx.deleteFrom("removals").where("id", "=", row.id).execute();
  await appendEntry(trx, {
    at: now,
    actor: "ballast",
    action: `${row.kind}.removed`,
    subject: subjectOf(row),
    reason: fromStoredTextOrUndefined(row.reason),
    details: { removal: row.id, askedBy: fromStoredText(row.asked_by), ...counts, scrub },
  });
  return counts;
}
