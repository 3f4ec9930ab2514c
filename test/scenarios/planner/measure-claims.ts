import { sql } from "kysely";
import type { ClaimedCalendar } from "../../../src/core/calendar-store.ts";
import { epochMs } from "../../../src/core/clock.ts";
import { claimDueCalendars } from "../../../src/store/claim-due.ts";
import type { Database } from "../../../src/store/database.ts";

/** Calendars of one claim. */
export const CLAIMED_AT_ONCE = 500;
const QUEUED_FOR_MS = 60_000;
/** The big tenant: `generateCalendars` numbers them from it. */
const BIG_TENANT = "tenant-000000000";

/** One claim, timed. */
interface Tick {
  readonly ms: number;
  readonly claimed: readonly ClaimedCalendar[];
}

/** What the same claim is, again and again: nobody begins what it takes, and its marks run out before the next one. */
export interface MeasuredClaims {
  readonly ticks: readonly Tick[];
  /** The claim right after, of what the big tenant alone has left. */
  readonly following: readonly Tick[];
}

/** Claims to measure on one database; `tick` does one more. */
export function openClaims(
  database: Database,
  startAt: number,
): MeasuredClaims & { tick(): Promise<void> } {
  const ticks: Tick[] = [];
  const following: Tick[] = [];
  let now = startAt;
  return {
    ticks,
    following,
    async tick() {
      ticks.push(await claim(database, now));
      following.push(await claim(database, now));
      now += QUEUED_FOR_MS + 1;
    },
  };
}

/** One claim over all classes, without a limit of a tenant's own. */
export async function claim(database: Database, now: number): Promise<Tick> {
  const startedMs = performance.now();
  const claimed = await claimDueCalendars(database, {
    now: epochMs(now),
    limit: CLAIMED_AT_ONCE,
    perTenant: 10 * CLAIMED_AT_ONCE,
    queuedForMs: QUEUED_FOR_MS,
  });
  return { ms: performance.now() - startedMs, claimed };
}

/** The middle one and the worst, in milliseconds. */
export function durations(ticks: readonly Tick[]): {
  readonly median: number;
  readonly worst: number;
} {
  const sorted = ticks.map(({ ms }) => ms).toSorted((a, b) => a - b);
  return { median: sorted[Math.floor(sorted.length / 2)] ?? NaN, worst: sorted.at(-1) ?? NaN };
}

/** How many tenants but the big one were given all that they had due. */
export function servedInFull(claimed: readonly ClaimedCalendar[], due: number): number {
  return countServed(
    claimed.map(({ tenantId }) => tenantId),
    due,
  );
}

/**
 * What the same limit would give by age alone, without turns: the control. Whoever has been overdue for
 * longest takes all of it.
 */
export async function servedByAge(database: Database, now: number, due: number): Promise<number> {
  const { rows } = await database.read((db) =>
    sql<{ tenant_id: string }>`
      select tenant_id from calendars where account_state = 'connected' and due_at <= ${now}
      order by due_at limit ${sql.lit(CLAIMED_AT_ONCE)}`.execute(db),
  );
  return countServed(
    rows.map(({ tenant_id: tenant }) => tenant),
    due,
  );
}

function countServed(tenants: readonly string[], due: number): number {
  const counts = Map.groupBy(tenants, (tenant) => tenant);
  counts.delete(BIG_TENANT);
  return [...counts.values()].filter(({ length }) => length === due).length;
}
