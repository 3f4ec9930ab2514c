import { sql, type RawBuilder } from "kysely";
import { REQUEST_CLASSES } from "../core/request.ts";
import type { Database, Trx } from "./database.ts";

/*
 * Which tenants a claimer has to look at, so that those with nothing due cost nothing: one narrow row for
 * each kind of work and tenant that has any. States of a row: absent (no work) → to be looked at (`look_at` has
 * come) → (nothing found that can be taken) resting until `look_at` → to be looked at → … → absent.
 *
 * Invariant: whenever something of a kind and tenant can be taken, there is a row of `due_tenants` or a note
 * (`due_notes`) of it whose `look_at` is past. It may be there too early: a look that finds nothing costs an index
 * step and moves `look_at` on.
 *
 * Whoever makes a calendar claimable sooner than it was leaves a note in the same transaction. Triggers do
 * (`migrations/note-due.ts`), so that no statement on `calendars` can forget it or has to think of it; only what takes
 * a queue's mark away calls `noteDue`. Notes are only ever added: they lock nothing, so no two writers wait for each other, however
 * hot the tenant. Rows of `due_tenants` are written by claimers alone, and those are one at a time
 * (`excludeOthers`).
 *
 * A claimer first moves the notes that it sees into `due_tenants`, then reads calendars, then moves `look_at` on by
 * what it read. Under READ COMMITTED that suffices: a writer whose note was seen had committed, so what it wrote is
 * seen by every later statement of the claimer; a note that was not seen outlives this claim, and the next one
 * lowers `look_at` again. What only makes a calendar claimable later (a lease that begins or is extended, a
 * publish before the next poll) leaves `look_at` too early, which is allowed, and writes nothing here.
 *
 * Time alone ends a lease or a queue's mark: `look_at` is never beyond the moment at which the first one of the
 * tenant ends, so a crash needs no clean-up.
 */

/** The kind of work that channels are; the others are the ranks of classes. */
export const WATCH_KIND = REQUEST_CLASSES.length;

const NOTES_AT_ONCE = 5_000;
/** Of so many times that; the others wait for the next claim. */
const MOST_NOTES = 10;

interface Note {
  readonly due_class: number;
  readonly tenant_id: string;
  readonly look_at: number;
}

/** What of a calendar says whether and when it is claimable. */
export interface NotedRow {
  readonly due_class: number;
  readonly tenant_id: string;
  readonly due_at: number | null;
  readonly account_state: string;
}

/** Have claimers look at a calendar that is no longer hidden by a mark, from when it is due. */
export async function noteDue(trx: Trx, row: NotedRow): Promise<void> {
  const { due_class, tenant_id, due_at: look_at } = row;
  if (look_at === null || row.account_state !== "connected") return;
  await trx.insertInto("due_notes").values({ due_class, tenant_id, look_at }).execute();
}

/**
 * Move the notes to where claimers look: the first statements of a claim. Whose work was due before joins those who
 * wait now: an old due time that is noted again and again must not lead a tenant past the others each time.
 */
export async function takeNotes(database: Database, trx: Trx, now: number): Promise<void> {
  for (let batch = 0; batch < MOST_NOTES; batch += 1) {
    const { rows } = await sql<Note>`
      delete from due_notes where number in
        (select number from due_notes order by number limit ${sql.lit(NOTES_AT_ONCE)})
      returning due_class, tenant_id, look_at`.execute(trx);
    await lookFrom(
      database,
      trx,
      rows.map((note) => ({ ...note, look_at: Math.max(note.look_at, now) })),
    );
    if (rows.length < NOTES_AT_ONCE) return;
  }
}

async function lookFrom(database: Database, trx: Trx, notes: readonly Note[]): Promise<void> {
  const soonest = new Map<string, Note>();
  for (const note of notes) {
    const key = keyOf(note.due_class, note.tenant_id);
    const known = soonest.get(key);
    if (known === undefined || note.look_at < known.look_at) soonest.set(key, note);
  }
  if (soonest.size === 0) return;
  const source = database.dialect.rowsFrom([...soonest.values()], {
    due_class: "bigint",
    tenant_id: "text",
    look_at: "bigint",
  });
  await sql`
    insert into due_tenants (due_class, tenant_id, look_at)
    select r.due_class, r.tenant_id, r.look_at from ${source} where true
    on conflict (due_class, tenant_id) do update set look_at = excluded.look_at
      where excluded.look_at < due_tenants.look_at`.execute(trx);
}

function keyOf(kind: number, tenant: string): string {
  return `${String(kind)} ${tenant}`;
}

/** A tenant that has to be looked at. */
export interface DueTenant {
  readonly tenant: string;
  readonly lookAt: number;
  /** Turns that it has had at this very `lookAt`: orders those that were looked at in the same millisecond. */
  readonly turns: number;
  /** What it was given of the turn that it is in. */
  readonly given: number;
}

/** For which of these kinds of work there is a tenant to be looked at. */
export async function dueKinds(
  { database, trx }: { readonly database: Database; readonly trx: Trx },
  kinds: readonly number[],
  now: number,
): Promise<readonly number[]> {
  const source = database.dialect.rowsFrom(
    kinds.map((kind) => ({ kind })),
    { kind: "bigint" },
  );
  const { rows } = await sql<{ kind: number }>`
    select r.kind from ${source} where exists (
      select 1 from due_tenants where due_class = r.kind and look_at <= ${now})`.execute(trx);
  return rows.map(({ kind }) => kind);
}

/** Those to be looked at, longest waiting first, from behind `after` on. */
export async function readDueTenants(
  { database, trx }: { readonly database: Database; readonly trx: Trx },
  query: {
    readonly kind: number;
    readonly now: number;
    readonly limit: number;
    readonly after?: DueTenant | undefined;
    /** Passed over; they keep their place. */
    readonly except?: readonly string[];
  },
): Promise<readonly DueTenant[]> {
  const { after, except = [] } = query;
  const behind =
    after === undefined
      ? sql``
      : sql`and (look_at, turns, tenant_id) > (${after.lookAt}, ${after.turns}, ${after.tenant})`;
  const passedOver =
    except.length === 0
      ? sql``
      : sql`and tenant_id not in (select r.of_tenant from ${database.dialect.rowsFrom(
          except.map((tenant) => ({ of_tenant: tenant })),
          { of_tenant: "text" },
        )})`;
  const { rows } = await sql<DueTenant>`
    select tenant_id as tenant, look_at as "lookAt", turns, given from due_tenants
    where due_class = ${query.kind} and look_at <= ${query.now} ${behind} ${passedOver}
    order by look_at, turns, tenant_id
    limit ${sql.lit(query.limit)}`.execute(trx);
  return rows;
}

/** The same as a table of `tenant_id`, with those that only notes name as yet. */
export function tenantsToLookAt(due: {
  readonly classRank: number;
  readonly now: number;
}): RawBuilder<unknown> {
  const isToBeLookedAt = sql`due_class = ${due.classRank} and look_at <= ${due.now}`;
  return sql`(select tenant_id from due_tenants where ${isToBeLookedAt}
    union select tenant_id from due_notes where ${isToBeLookedAt})`;
}

/** A tenant after it was looked at. */
export interface LookedAt extends DueTenant {
  readonly kind: number;
  readonly found:
    | {
        /** It may have more. `given`: of a turn that was cut short; with none it goes behind the others. */
        readonly kind: "more";
        readonly given: number;
      }
    | {
        readonly kind: "none-left";
        /** No later than the first moment at which it may have something; undefined: it has no such work. */
        readonly nextAt: number | undefined;
      };
}

/** What a claim says about the tenants that it looked at: its last statements. */
export async function settleTenants(
  { database, trx }: { readonly database: Database; readonly trx: Trx },
  looked: readonly LookedAt[],
  now: number,
): Promise<void> {
  const settled = looked.map((one) => settle(one, now));
  const resting = settled.filter(({ look_at: at }) => at !== undefined);
  if (resting.length > 0) {
    const source = database.dialect.rowsFrom(resting, {
      of_kind: "bigint",
      of_tenant: "text",
      look_at: "bigint",
      turns: "bigint",
      given: "bigint",
    });
    await sql`
      update due_tenants set look_at = r.look_at, turns = r.turns, given = r.given from ${source}
      where due_class = r.of_kind and tenant_id = r.of_tenant`.execute(trx);
  }
  const idle = settled.filter(({ look_at: at }) => at === undefined);
  if (idle.length > 0) {
    const source = database.dialect.rowsFrom(idle, { of_kind: "bigint", of_tenant: "text" });
    await sql`
      delete from due_tenants where (due_class, tenant_id) in
        (select r.of_kind, r.of_tenant from ${source})`.execute(trx);
  }
}

interface Settled {
  readonly of_kind: number;
  readonly of_tenant: string;
  /** Undefined: there is nothing to look for. */
  readonly look_at: number | undefined;
  readonly turns: number;
  readonly given: number;
}

function settle({ found, kind, tenant, lookAt, turns }: LookedAt, now: number): Settled {
  const key = { of_kind: kind, of_tenant: tenant };
  if (found.kind === "more" && found.given > 0) {
    return { ...key, look_at: lookAt, turns, given: found.given };
  }
  if (found.kind === "none-left" && (found.nextAt === undefined || found.nextAt > now)) {
    return { ...key, look_at: found.nextAt, turns: 0, given: 0 };
  }
  // Behind those who wait: they have been waiting since this moment or before.
  return { ...key, look_at: now, turns: lookAt === now ? turns + 1 : 0, given: 0 };
}
