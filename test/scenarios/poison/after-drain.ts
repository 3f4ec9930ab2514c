import { startApp } from "../../../src/app.ts";
import type { CalendarRow } from "../../../src/core/calendar-store.ts";
import { epochMs, systemClock } from "../../../src/core/clock.ts";
import {
  accountName,
  projectId,
  tenantId,
  type AccountId,
  type CalendarId,
} from "../../../src/core/ids.ts";
import { createLogger } from "../../../src/observability/logger.ts";
import type { Store } from "../../../src/store/open-store.ts";
import { until, type PoisonWorld } from "./poison-world.ts";

/** Restart the workers twice; how many watches there were, and how many restarts added. */
export async function countWatchesAgain(
  world: PoisonWorld,
  healthy: readonly CalendarId[],
): Promise<{ readonly before: number; readonly again: number }> {
  const { front, home } = world;
  const before = front.watches();
  for (let restart = 0; restart < 2; restart += 1) {
    const app = await startApp(
      home.config,
      { role: "worker", redis: home.redis.url },
      {
        clock: systemClock,
        logger: createLogger({ level: "error", format: "text" }, process.stderr),
      },
    );
    // Long enough for its claimer to have looked several times.
    await refreshAll(world, healthy);
    await app.drain();
  }
  return { before, again: front.watches() - before };
}

async function refreshAll({ home }: PoisonWorld, ids: readonly CalendarId[]): Promise<void> {
  const { calendars } = home.store;
  const dueAt = systemClock.now();
  for (const id of ids) await calendars.request(id, { class: "poll", dueAt });
  await until("all that are well are refreshed", async () => {
    const rows = await Promise.all(ids.map((id) => calendars.get(id)));
    return rows.every((row) => row !== undefined && row.served >= row.requested);
  });
}

const PAGE = 10;
const LISTED = 100;

/**
 * Page through a tenant's calendars while others come and go, by keyset as the store does and by offset as
 * the control; and claim them the same way. Counts those that were there all the time and were not met.
 */
export async function countSkipped({
  home,
}: PoisonWorld): Promise<{ readonly byKeyset: number; readonly byOffset: number }> {
  const { store } = home;
  const account = await store.accounts.connect({
    projectId: projectId("default"),
    tenantId: tenantId("paged"),
    name: accountName("main"),
    quotaUser: undefined,
    refreshToken: "never used",
    scopes: [],
    now: systemClock.now(),
  });
  const staying = names("staying", LISTED);
  const leaving = names("leaving", LISTED);
  await discover(store, account.id, [...staying, ...leaving]);
  const all = await store.calendars.list({ accountId: account.id, limit: 1_000 });
  const idsOfStaying = all.filter(isStaying).map(({ id }) => String(id));

  const byKeyset = new Set<string>();
  const byOffset = new Set<string>();
  const claimed = new Set<string>();
  let after: CalendarRow["id"] | undefined;
  let left = leaving;
  for (let page = 0; page < 60; page += 1) {
    const rows = await store.calendars.list({ accountId: account.id, after, limit: PAGE });
    after = rows.at(-1)?.id ?? after;
    for (const { id } of rows) byKeyset.add(String(id));
    const present = (await store.calendars.list({ accountId: account.id, limit: 1_000 })).filter(
      ({ state }) => state !== "lost",
    );
    const offset = page * PAGE;
    for (const { id } of present.slice(offset, offset + PAGE)) byOffset.add(String(id));
    const taken = await store.calendars.claimDue({
      now: epochMs(systemClock.now() + 1_000),
      limit: PAGE,
      perTenant: 10_000,
      queuedForMs: 600_000,
    });
    for (const { calendarId } of taken) claimed.add(String(calendarId));
    // Between two pages some leave and others come.
    left = left.slice(PAGE);
    const come = page < 10 ? names("coming", (page + 1) * 3) : names("coming", 30);
    await discover(store, account.id, [...staying, ...left, ...come]);
  }
  const missedBy = (met: ReadonlySet<string>): number =>
    idsOfStaying.filter((id) => !met.has(id)).length;
  return { byKeyset: missedBy(byKeyset) + missedBy(claimed), byOffset: missedBy(byOffset) };
}

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}-${String(index)}@example.test`);
}

function isStaying({ googleId }: CalendarRow): boolean {
  return String(googleId).startsWith("staying");
}

/** What an account's list holds now; who is absent for the second time is lost. */
async function discover(store: Store, id: AccountId, googleIds: readonly string[]): Promise<void> {
  const now = systemClock.now();
  await store.accounts.requestDiscovery(id, now);
  const begun = await store.accounts.beginDiscovery(id, { now, until: epochMs(now + 60_000) });
  if (begun.kind !== "begun") throw new Error(`The discovery did not begin: ${begun.kind}`);
  await store.accounts.applyDiscovery(begun.lease, {
    kind: "full",
    entries: googleIds.map((googleId) => ({
      googleId,
      summary: undefined,
      timeZone: undefined,
      accessRole: "owner",
      isPrimary: false,
      isHidden: false,
      isDeleted: false,
    })),
    syncToken: "list",
    queryFingerprint: "list",
    served: begun.state.requested,
    nextDueAt: epochMs(now + 3_600_000),
    confirmAt: epochMs(now + 1_000),
    now,
  });
}
