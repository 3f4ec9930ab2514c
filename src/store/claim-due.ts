import { sql } from "kysely";
import type { ClaimedCalendar, ClaimQuery } from "../core/calendar-store.ts";
import { calendarId, tenantId } from "../core/ids.ts";
import { REQUEST_CLASSES, type RequestClass } from "../core/request.ts";
import { rankOfClass } from "./calendar-rows.ts";
import type { Database, Reader, Trx } from "./database.ts";
import {
  dueKinds,
  readDueTenants,
  settleTenants,
  takeNotes,
  type DueTenant,
  type LookedAt,
} from "./due-tenants.ts";
import { countQueued, markQueued, queuedUntilOf } from "./queued-calendars.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

/** From this many on a backlog is an estimate. */
const BACKLOG_EXACT_TO = 10_000;
/** Tenants read at once, at least: some of them may turn out to have nothing that can be taken. */
const FEWEST_READ = 100;
/** How many of those one claim looks at in vain, at most; the next one goes on behind them. */
const MOST_IN_VAIN = 1_000;
/** Queued or leased calendars of a tenant that a look goes through; with more, it looks again next time. */
const MOST_HELD = 1_000;

interface Claimed {
  readonly id: string;
  readonly tenantId: string;
  readonly classRank: number;
}

/**
 * Take due calendars: class by class, and within a class turn after turn over the tenants that have
 * due work, so that one tenant's backlog neither hides nor delays another's. An index leads to the tenants that
 * have to be looked at, another one to each one's longest due rows: the work depends on the rows taken, not on
 * how many are overdue, and not on how many tenants there are.
 */
export async function claimDueCalendars(
  database: Database,
  query: ClaimQuery,
): Promise<readonly ClaimedCalendar[]> {
  const claimed = await database.write(async (trx) => {
    // K counts what others have queued: two claimers at once would each count too few.
    await database.dialect.excludeOthers(trx, "claim");
    await takeNotes(database, trx, query.now);
    const wanted = (query.classes ?? REQUEST_CLASSES).map(rankOfClass);
    const ranks = await dueKinds({ database, trx }, wanted, query.now);
    // Most looks end here.
    if (ranks.length === 0) return [];
    const queued = await countQueued(trx, query.now);
    const run: ClaimRun = { database, trx, query, queued, taken: [] };
    const looked: LookedAt[] = [];
    for (const rank of ranks.toSorted((a, b) => a - b)) {
      if (run.taken.length >= query.limit) break;
      looked.push(...(await claimClass(run, rank)));
    }
    await settleTenants(run, looked, query.now);
    return run.taken;
  });
  return claimed.map((row) => ({
    calendarId: calendarId(row.id),
    tenantId: tenantId(fromStoredText(row.tenantId)),
    class: REQUEST_CLASSES[row.classRank] ?? "backfill",
  }));
}

interface ClaimRun {
  readonly database: Database;
  readonly trx: Trx;
  readonly query: ClaimQuery;
  /** How many each tenant has queued, those of this claim included. */
  readonly queued: Map<string, number>;
  readonly taken: Claimed[];
}

/** A tenant in the course of one claim. */
interface Turn {
  readonly due: DueTenant;
  readonly weight: number;
  /** What it was given of the turns that it began. */
  given: number;
  wasAsked: boolean;
  /** It gave less than it was asked for. */
  isExhausted: boolean;
}

async function claimClass(run: ClaimRun, classRank: number): Promise<readonly LookedAt[]> {
  const { query, queued } = run;
  const limit = Math.max(FEWEST_READ, query.limit - run.taken.length);
  const looked: LookedAt[] = [];
  const passedOver = [...(query.except ?? [])].map((tenant) => toStoredText(tenant));
  let after: DueTenant | undefined;
  for (;;) {
    const full = [...queued].filter(([, count]) => count >= query.perTenant);
    const due = await readDueTenants(run, {
      kind: classRank,
      now: query.now,
      limit,
      after,
      except: [...passedOver, ...full.map(([tenant]) => tenant)],
    });
    after = due.at(-1);
    const asked = await takeTurns(run, classRank, due);
    looked.push(...(await whatWasFound(run, classRank, asked)));
    const isOver = due.length < limit || run.taken.length >= query.limit;
    if (isOver || looked.length >= query.limit + MOST_IN_VAIN) return looked;
  }
}

async function takeTurns(
  run: ClaimRun,
  classRank: number,
  due: readonly DueTenant[],
): Promise<readonly Turn[]> {
  const { query, queued, taken } = run;
  const turns = due.map((one) => toTurn(one, query));
  let line: readonly Turn[] = turns;
  let spare = 0;
  while (taken.length < query.limit) {
    const limit = query.limit - taken.length;
    const asks = shareOut(line, { limit, spare, roomOf: (turn) => roomOf(run, turn) });
    if (asks.length === 0) break;
    const rows = await takeRound(run, classRank, asks);
    for (const row of rows) {
      taken.push({ id: row.id, tenantId: row.tenant_id, classRank });
      queued.set(row.tenant_id, (queued.get(row.tenant_id) ?? 0) + 1);
    }
    // Who was not asked yet comes before who gave already.
    line = [...line.filter((turn) => !turn.wasAsked), ...line.filter((turn) => turn.wasAsked)];
    line = line.filter((turn) => !turn.isExhausted);
    // Many may have nothing, as a minute after a big claim: they are not asked one by one.
    spare = rows.length === 0 ? FEWEST_READ : 0;
  }
  return turns.filter((turn) => turn.wasAsked);
}

function toTurn(due: DueTenant, { weights }: ClaimQuery): Turn {
  const weight = weights?.get(tenantId(fromStoredText(due.tenant))) ?? 1;
  return {
    due,
    weight: Math.max(1, Math.floor(weight)),
    given: due.given,
    wasAsked: false,
    isExhausted: false,
  };
}

function roomOf({ query, queued }: ClaimRun, { due }: Turn): number {
  return query.perTenant - (queued.get(due.tenant) ?? 0);
}

interface Ask {
  readonly turn: Turn;
  readonly take: number;
}

/**
 * The rest of its turn for each, as many turns as there are for all; where there is too little, in order. Then as many
 * again as `spare`, in case those before them give nothing.
 */
function shareOut(
  line: readonly Turn[],
  to: {
    readonly limit: number;
    readonly spare: number;
    readonly roomOf: (turn: Turn) => number;
  },
): readonly Ask[] {
  const open = line.filter((turn) => to.roomOf(turn) > 0);
  const wanted = open.reduce((sum, turn) => sum + restOfTurn(turn), 0);
  const rounds = Math.max(1, Math.floor(to.limit / Math.max(1, wanted)));
  const asks: Ask[] = [];
  let left = to.limit;
  let spare = to.spare;
  for (const turn of open) {
    if (left === 0 && spare === 0) break;
    if (left === 0) spare -= 1;
    const share = restOfTurn(turn) + (rounds - 1) * turn.weight;
    const take = Math.min(share, to.roomOf(turn), left === 0 ? to.limit : left);
    asks.push({ turn, take });
    left -= Math.min(take, left);
  }
  return asks;
}

function restOfTurn({ weight, given }: Turn): number {
  return weight - (given % weight);
}

/** Asks them in order until there is no room for more; the longest due first. */
async function takeRound(
  { database, trx, query, taken }: ClaimRun,
  classRank: number,
  asks: readonly Ask[],
): Promise<readonly { id: string; tenant_id: string }[]> {
  const wanted = asks.map(({ turn, take }) => ({ tenant: turn.due.tenant, take }));
  const found = await database.dialect
    .dueCalendars(wanted, { classRank, now: query.now })
    .execute(trx);
  const byTenant = Map.groupBy(
    found.rows.toSorted((a, b) => a.due_at - b.due_at),
    (row) => row.tenant_id,
  );
  const rows: (typeof found.rows)[number][] = [];
  for (const { turn, take } of asks) {
    const left = query.limit - taken.length - rows.length;
    if (left === 0) break;
    const theirs = byTenant.get(turn.due.tenant) ?? [];
    const given = theirs.slice(0, Math.min(take, left));
    rows.push(...given);
    turn.given += given.length;
    turn.wasAsked = true;
    turn.isExhausted = theirs.length < take;
  }
  rows.sort((a, b) => a.due_at - b.due_at);
  await markQueued({ database, trx }, rows, { classRank, until: query.now + query.queuedForMs });
  return rows;
}

async function whatWasFound(
  run: ClaimRun,
  classRank: number,
  asked: readonly Turn[],
): Promise<readonly LookedAt[]> {
  const exhausted = asked.filter((turn) => turn.isExhausted).map(({ due }) => due.tenant);
  const next = await nextMoments(run, classRank, exhausted);
  return asked.map(({ due, weight, given, isExhausted }) => ({
    ...due,
    kind: classRank,
    found: isExhausted
      ? { kind: "none-left", nextAt: next.get(due.tenant) }
      : { kind: "more", given: given % weight },
  }));
}

/** When something of a tenant can be taken, at the earliest: due later, or held by a lease or a mark until then. */
async function nextMoments(
  { database, trx, query: { now } }: ClaimRun,
  classRank: number,
  tenants: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  if (tenants.length === 0) return new Map();
  const source = database.dialect.rowsFrom(
    tenants.map((tenant) => ({ of_tenant: tenant })),
    { of_tenant: "text" },
  );
  const most = sql.lit(MOST_HELD);
  const isOfTenant = sql`${isDueInClass(classRank)} and c.tenant_id = r.of_tenant`;
  const { rows } = await sql<{ tenant: string; later: number | null; held: number | null }>`
    select r.of_tenant as tenant,
      (select c.due_at from calendars as c where ${isOfTenant} and c.due_at > ${now}
       order by c.due_at limit 1) as later,
      (select case when count(*) = ${most} then 0
         else min(case when queued > leased then queued else leased end) end from (
        select coalesce(${queuedUntilOf("c")}, 0) as queued, coalesce(c.lease_until, 0) as leased
        from calendars as c where ${isOfTenant} and c.due_at <= ${now}
        order by c.due_at limit ${most}
      ) as due) as held
    from ${source}`.execute(trx);
  return new Map(
    rows.flatMap(({ tenant, later, held }) =>
      later === null && held === null
        ? []
        : [[tenant, Math.min(later ?? Infinity, held ?? Infinity)] as const],
    ),
  );
}

// In the words of the index's own condition, so that both planners recognise it.
function isDueInClass(classRank: number) {
  return sql`account_state = 'connected' and due_at is not null and due_class = ${classRank}`;
}

/** Calendars due and not queued, by class. */
export async function countBacklog(
  database: Database,
  now: number,
): Promise<Readonly<Record<RequestClass, number>>> {
  return database.snapshot(async (trx) => {
    const counts = { interactive: 0, push: 0, poll: 0, backfill: 0 };
    for (const name of REQUEST_CLASSES) {
      counts[name] = await countClass(database, trx, { classRank: rankOfClass(name), now });
    }
    return counts;
  });
}

async function countClass(
  { dialect }: Database,
  db: Reader,
  due: { readonly classRank: number; readonly now: number },
): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from (${dialect.allDueCalendars(due, BACKLOG_EXACT_TO + 1)}) as due`.execute(
    db,
  );
  return rows[0]?.count ?? 0;
}
