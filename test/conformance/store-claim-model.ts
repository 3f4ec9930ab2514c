import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { AccountRow } from "../../src/core/account-store.ts";
import type { CalendarRow } from "../../src/core/calendar-store.ts";
import { projectId, type CalendarId } from "../../src/core/ids.ts";
import type { RefreshLease } from "../../src/core/refresh-store.ts";
import { REQUEST_CLASSES, type RequestClass } from "../../src/core/request.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import {
  HOUR_MS,
  LEASE_MS,
  listEntry,
  must,
  openTestStore,
  type TestStore,
} from "./store-fixture.ts";

const CALENDARS = 2;
const QUEUED_FOR_MS = 60_000;
const DEBOUNCE = { quietMs: 2_000, mostMs: 10_000 };

const pick = fc.nat({ max: 8 });
const delay = fc.constantFrom(0, 1, 3_000, 50_000);
const requestClass = fc.constantFrom(...REQUEST_CLASSES);

/** Whatever changes when a calendar can be claimed. */
const actArbitrary = fc.oneof(
  fc.record({ kind: fc.constant("request" as const), pick, requestClass, delay }),
  fc.record({ kind: fc.constant("notify" as const), pick }),
  fc.record({ kind: fc.constant("put-off" as const), pick }),
  fc.record({
    kind: fc.constant("claim" as const),
    limit: fc.integer({ min: 1, max: 6 }),
    perTenant: fc.integer({ min: 1, max: 3 }),
    weight: fc.integer({ min: 1, max: 3 }),
    only: fc.option(requestClass, { nil: undefined }),
  }),
  fc.record({ kind: fc.constant("begin" as const), pick }),
  fc.record({ kind: fc.constant("stage" as const), pick }),
  fc.record({ kind: fc.constant("publish" as const), pick, delay }),
  fc.record({
    kind: fc.constant("postpone" as const),
    pick,
    delay,
    state: fc.constantFrom("keep" as const, "slowed" as const, "lost" as const),
  }),
  fc.record({
    kind: fc.constant("account" as const),
    pick,
    change: fc.constantFrom(
      "pause" as const,
      "resume" as const,
      "refuse" as const,
      "connect" as const,
    ),
  }),
  fc.record({
    kind: fc.constant("discover" as const),
    pick,
    listed: fc.nat({ max: CALENDARS + 1 }),
  }),
);
type Act = typeof actArbitrary extends fc.Arbitrary<infer T> ? T : never;

const roundArbitrary = fc.record({
  /** All that is due is claimed first, so that claimers look no more at tenants that have nothing else. */
  isDrained: fc.boolean(),
  /** At once, by two processes. */
  acts: fc.array(actArbitrary, { maxLength: 5 }),
  advanceMs: fc.constantFrom(0, 1, 2_500, LEASE_MS - 1, QUEUED_FOR_MS + 1),
});

interface World {
  readonly accounts: readonly AccountRow[];
  readonly calendars: readonly CalendarId[];
  readonly leases: RefreshLease[];
}

/** Whatever happens, together or apart, what a claim finds is what the rows say. */
export function claimModelConformance(freshDatabase: FreshDatabase): void {
  test(
    "whatever is asked, begun, refreshed, lost, paused or connected at once, claims find all that is claimable and nothing else",
    { timeout: 120_000 },
    async () => {
      const url = await freshDatabase();
      const first = await openTestStore(url);
      const stores = [first, await openTestStore(url, { clock: first.clock })];
      let run = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(roundArbitrary, { maxLength: 6 }), async (rounds) => {
          run += 1;
          const world = await openWorld(first, run);
          for (const { isDrained, acts, advanceMs } of rounds) {
            if (isDrained) await drain(first);
            await Promise.all(acts.map((act, index) => play(world, must(stores[index % 2]), act)));
            await first.clock.advance(advanceMs);
            const due = await dueOf(world, first);
            expect(await first.calendars.backlog(first.now())).toEqual(countByClass(due));
          }
          const due = await dueOf(world, first);
          expect((await drain(first)).toSorted()).toEqual(due.map(({ id }) => id).toSorted());
          expect(await dueOf(world, first)).toEqual([]);
          for (const { id } of world.accounts) await pause(first, id, "run over");
        }),
        { numRuns: 15 },
      );
    },
  );
}

async function openWorld(store: TestStore, run: number): Promise<World> {
  const connected = [];
  for (const [tenant, account] of [
    ["a", "ann"],
    ["a", "abe"],
    ["b", "bob"],
  ] as const) {
    const ids = Array.from({ length: CALENDARS }, (_, index) => googleIdOf(index));
    connected.push(await store.connect(`${String(run)}-${tenant}`, account, ids));
  }
  // All of them idle.
  const nextPoll = { dueAt: store.later(HOUR_MS), reason: "poll" } as const;
  for (const id of connected.flatMap(({ calendars }) => calendars)) {
    await store.refresh(id, { nextPoll });
  }
  await drain(store);
  return {
    accounts: connected.map(({ account }) => account),
    calendars: connected.flatMap(({ calendars }) => calendars),
    leases: [],
  };
}

function googleIdOf(index: number): string {
  return `c-${String(index)}@example.test`;
}

/** What the rows say, read one by one. */
async function dueOf(world: World, store: TestStore): Promise<readonly CalendarRow[]> {
  const now = store.now();
  const due: CalendarRow[] = [];
  for (const { id } of world.accounts) {
    if ((await store.accounts.get(id))?.state !== "connected") continue;
    for (const row of await store.calendars.list({ accountId: id, limit: 100 })) {
      const leaseUntil = (await store.refreshHistory.of(row.id))?.leaseUntil ?? 0;
      const claimableAt = Math.max(row.dueAt ?? Infinity, row.queuedUntil ?? 0, leaseUntil);
      if (claimableAt <= now) due.push(row);
    }
  }
  return due;
}

function countByClass(rows: readonly CalendarRow[]): Record<RequestClass, number> {
  const counts = { interactive: 0, push: 0, poll: 0, backfill: 0 };
  for (const { dueClass } of rows) counts[dueClass] += 1;
  return counts;
}

/** Claim until there is nothing left. */
async function drain(store: TestStore): Promise<string[]> {
  const ids: string[] = [];
  for (let claims = 0; claims < 100; claims += 1) {
    const claimed = await store.calendars.claimDue({
      now: store.now(),
      limit: 4,
      perTenant: 1_000,
      queuedForMs: QUEUED_FOR_MS,
    });
    if (claimed.length === 0) return ids;
    ids.push(...claimed.map(({ calendarId }) => calendarId));
  }
  throw new Error("A claim finds the same calendars again and again");
}

/** One act; that it may be refused (not due, leased, paused, fenced out) is part of it. */
async function play(world: World, store: TestStore, act: Act): Promise<void> {
  switch (act.kind) {
    case "claim":
      await claim(world, store, act);
      return;
    case "account":
      await changeAccount(store, accountAt(world, act.pick), act.change);
      return;
    case "discover":
      await discover(store, accountAt(world, act.pick).id, act.listed);
      return;
    case "stage":
    case "publish":
    case "postpone":
      await goOn(world, store, act);
      return;
    case "request":
    case "notify":
    case "put-off":
    case "begin":
      await ask(world, store, act);
  }
}

async function ask(
  world: World,
  store: TestStore,
  act: Extract<Act, { kind: "request" | "notify" | "put-off" | "begin" }>,
): Promise<void> {
  const id = must(world.calendars[act.pick % world.calendars.length]);
  const how = { now: store.now(), debounce: DEBOUNCE };
  if (act.kind === "request") {
    const wish = { class: act.requestClass, dueAt: store.later(act.delay) };
    await store.calendars.requestMany([{ calendarId: id, ...wish }]);
  } else if (act.kind === "notify") {
    await store.channels.markNotified([{ calendarId: id, channelId: "none" }], how);
  } else if (act.kind === "put-off") {
    await store.channels.putOff([id], how);
  } else {
    const times = { now: store.now(), until: store.later(LEASE_MS) };
    const begun = await store.refreshes.begin(id, times);
    if (begun.kind === "begun") world.leases.push(begun.lease);
  }
}

async function goOn(
  { leases }: World,
  store: TestStore,
  act: Extract<Act, { kind: "stage" | "publish" | "postpone" }>,
): Promise<void> {
  const lease = leases[act.pick % Math.max(1, leases.length)];
  if (lease === undefined) return;
  if (act.kind === "stage") {
    await store.stage(lease);
  } else if (act.kind === "publish") {
    const dueAt = store.later(act.delay);
    await store.publish(lease, { nextPoll: { dueAt, reason: "poll" } });
  } else {
    const state =
      act.state === "keep" ? { kind: act.state } : { kind: act.state, reason: "GCAL_NOT_FOUND" };
    await store.postpone(lease, { dueAt: store.later(act.delay), state });
  }
}

function accountAt({ accounts }: World, index: number): AccountRow {
  return must(accounts[index % accounts.length]);
}

async function claim(
  { accounts }: World,
  store: TestStore,
  { limit, perTenant, weight, only }: Extract<Act, { kind: "claim" }>,
): Promise<void> {
  await store.calendars.claimDue({
    now: store.now(),
    limit,
    perTenant,
    queuedForMs: QUEUED_FOR_MS,
    weights: new Map([[must(accounts[0]).tenantId, weight]]),
    ...(only === undefined ? {} : { classes: [only] }),
  });
}

async function changeAccount(
  store: TestStore,
  { id, tenantId: tenant, name }: AccountRow,
  change: Extract<Act, { kind: "account" }>["change"],
): Promise<void> {
  if (change === "refuse") {
    await store.accounts.markNeedsReconnect(id, "GCAL_GRANT_REVOKED");
  } else if (change === "connect") {
    await store.accounts.connect({
      projectId: projectId("default"),
      tenantId: tenant,
      name,
      quotaUser: undefined,
      refreshToken: "another",
      scopes: [],
      now: store.now(),
    });
  } else {
    await pause(store, id, change === "pause" ? "incident 7" : undefined);
  }
}

async function pause(store: TestStore, id: AccountRow["id"], reason?: string): Promise<void> {
  const by = { actor: "op", now: store.now() };
  await store.accounts.setOperatorPause(id, reason === undefined ? undefined : { reason }, by);
}

/** Its list names the first ones: others get lost, come back or are added. */
async function discover(store: TestStore, id: AccountRow["id"], listed: number): Promise<void> {
  const now = store.now();
  await store.accounts.requestDiscovery(id, now);
  const begun = await store.accounts.beginDiscovery(id, { now, until: store.later(LEASE_MS) });
  if (begun.kind !== "begun") return;
  await store.accounts.applyDiscovery(begun.lease, {
    kind: "full",
    entries: Array.from({ length: listed }, (_, index) => listEntry(googleIdOf(index))),
    syncToken: "list-token",
    queryFingerprint: "list-query",
    served: begun.state.requested,
    nextDueAt: store.later(LEASE_MS),
    confirmAt: store.later(1_000),
    now,
  });
}
