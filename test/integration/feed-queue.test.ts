import { join } from "node:path";
import { expect, test } from "vitest";
import { createFeed } from "../../jobs/feed-queue.ts";
import type { ClaimRoom, TenantTerms, WorkRoom } from "../../src/core/claim-room.ts";
import { accountName, projectId, tenantId, type CalendarId } from "../../src/core/ids.ts";
import type { ClaimLook } from "../../src/queue/claimer.ts";
import type { QueueName, WorkQueue } from "../../src/queue/work-queue.ts";
import { openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

interface Added {
  readonly job: string;
  readonly payload: unknown;
}

/** A queue whose workers take everything at once, unless it is said to hold some: what was added, in order. */
function createListeningQueue(waiting: Partial<Record<QueueName, number>> = {}): {
  readonly queue: WorkQueue;
  readonly added: Added[];
} {
  const added: Added[] = [];
  return {
    added,
    queue: {
      add: (definition, payload) => {
        added.push({ job: definition.name, payload });
        return Promise.resolve();
      },
      waiting: (name) => Promise.resolve(waiting[name] ?? 0),
      close: () => Promise.resolve(),
    },
  };
}

async function openStore(): Promise<TestStore> {
  return openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
}

const AMPLE: WorkRoom = { requests: 1_000_000, heldBy: undefined };
const HELD: WorkRoom = { requests: 0, heldBy: { limit: "pause", detail: "" } };
const roomOf = (room: WorkRoom): ClaimRoom => ({
  push: room,
  poll: room,
  backfill: room,
  discovery: room,
  watch: room,
});
const NO_TERMS: TenantTerms = { weights: new Map(), paused: new Set() };

function feedOf(
  store: TestStore,
  queue: WorkQueue,
  how: {
    readonly depth?: number;
    readonly perTenant?: number;
    readonly room?: ClaimRoom;
    readonly terms?: TenantTerms;
  } = {},
): () => Promise<ClaimLook> {
  const { depth = 16 } = how;
  return createFeed(
    {
      depth: { background: depth, interactive: depth },
      perTenant: how.perTenant ?? depth,
      queuedForMs: 60_000,
    },
    {
      calendars: store.calendars,
      accounts: store.accounts,
      queue,
      clock: store.clock,
      storeHealth: { canStore: () => true },
      room: () => Promise.resolve(how.room ?? roomOf(AMPLE)),
      terms: () => Promise.resolve(how.terms ?? NO_TERMS),
    },
  );
}

async function connectMany(store: TestStore, tenant: string, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const account = await store.accounts.connect({
      projectId: projectId("default"),
      tenantId: tenantId(tenant),
      name: accountName(`account-${String(index)}`),
      quotaUser: undefined,
      refreshToken: "refresh-token",
      scopes: [],
      now: store.now(),
    });
    await store.accounts.requestDiscovery(account.id, store.now());
  }
}

test("I8: many accounts to discover hold up neither a notified calendar nor another tenant's account", async () => {
  const store = await openStore();
  const calendar = await store.connectOne();
  await store.refresh(calendar);
  await connectMany(store, "big", 60);
  await store.clock.advance(1);
  await connectMany(store, "small", 1);
  await store.calendars.request(calendar, { class: "push", dueAt: store.now() });

  const { queue, added } = createListeningQueue();
  await feedOf(store, queue)();
  expect(added[0]).toEqual({
    job: "refresh-calendar",
    payload: { calendarId: calendar, class: "push" },
  });
  const discovered = added.filter(({ job }) => job === "discover-calendars");
  expect(discovered).toHaveLength(4);
  const small = await store.accounts.find(tenantId("small"), accountName("account-0"));
  expect(discovered.map(({ payload }) => payload)).toContainEqual({
    accountId: small?.id,
    class: "poll",
  });
});

const calendarsOf = (added: readonly Added[]): readonly unknown[] =>
  added.flatMap(({ payload }) =>
    typeof payload === "object" && payload !== null && "calendarId" in payload
      ? [payload.calendarId]
      : [],
  );

/** Calendars of one tenant that have been refreshed and are due again. */
async function connectDue(
  store: TestStore,
  tenant: string,
  count: number,
): Promise<readonly CalendarId[]> {
  const ids = Array.from({ length: count }, (_, index) => `${tenant}-${String(index)}`);
  const { calendars } = await store.connect(tenant, "ann", ids);
  return calendars;
}

test("neither a full background queue nor a budget that holds all else holds a person's refresh back", async () => {
  const store = await openStore();
  const calendar = await store.connectOne();
  await store.refresh(calendar);
  await store.calendars.request(calendar, { class: "interactive", dueAt: store.now() });
  const full = createListeningQueue({ background: 1_000 });
  const look = await feedOf(store, full.queue, { perTenant: 1, room: roomOf(HELD) })();
  expect(look).toBe("took");
  expect(full.added).toMatchObject([{ payload: { calendarId: calendar, class: "interactive" } }]);
});

test("no more is taken than the budget would let out, what waits in the queue included; the rest stays due as it was", async () => {
  const store = await openStore();
  const calendars = await connectDue(store, "acme", 12);
  const before = await store.calendars.list({ limit: 100 });
  await store.clock.advance(1_000);
  const { queue, added } = createListeningQueue({ background: 5 });
  const room = roomOf({ requests: 9, heldBy: undefined });
  expect(await feedOf(store, queue, { room })()).toBe("took");
  const taken = new Set(calendarsOf(added));
  expect(taken.size).toBe(4);
  const left = (await store.calendars.list({ limit: 100 })).filter(({ id }) => !taken.has(id));
  expect(left).toHaveLength(calendars.length - 4);
  for (const row of left) expect(before).toContainEqual(row);
});

test("what the budget holds is not taken round after round, and not one row is written", async () => {
  const store = await openStore();
  await connectDue(store, "acme", 5);
  const before = await store.calendars.list({ limit: 100 });
  const { queue, added } = createListeningQueue();
  const feed = feedOf(store, queue, { room: roomOf(HELD) });
  for (let looks = 0; looks < 3; looks += 1) {
    expect(await feed()).toBe("idle");
    await store.clock.advance(1_000);
  }
  expect(added).toEqual([]);
  expect(await store.calendars.list({ limit: 100 })).toEqual(before);
});

test("a class that is held holds no other", async () => {
  const store = await openStore();
  const [notified] = await connectDue(store, "acme", 3);
  await store.calendars.request(notified ?? ("" as CalendarId), {
    class: "push",
    dueAt: store.now(),
  });
  const { queue, added } = createListeningQueue();
  await feedOf(store, queue, { room: { ...roomOf(AMPLE), poll: HELD } })();
  expect(calendarsOf(added)).toEqual([notified]);
});

test("calendars of a paused tenant stay due and are not taken; a person of it is told at once", async () => {
  const store = await openStore();
  const [asked] = await connectDue(store, "paused", 3);
  const others = await connectDue(store, "acme", 3);
  await store.calendars.request(asked ?? ("" as CalendarId), {
    class: "interactive",
    dueAt: store.now(),
  });
  const { queue, added } = createListeningQueue();
  const terms = { ...NO_TERMS, paused: new Set([tenantId("paused")]) };
  await feedOf(store, queue, { terms })();
  expect(calendarsOf(added)[0]).toBe(asked);
  expect(new Set(calendarsOf(added).slice(1))).toEqual(new Set(others));
});

test("a tenant of weight 3 is given three calendars for one of another's", async () => {
  const store = await openStore();
  const heavy = new Set(await connectDue(store, "heavy", 12));
  await connectDue(store, "light", 12);
  const { queue, added } = createListeningQueue();
  const terms = { ...NO_TERMS, weights: new Map([[tenantId("heavy"), 3]]) };
  await feedOf(store, queue, { depth: 12, terms })();
  const taken = calendarsOf(added);
  expect(taken).toHaveLength(12);
  expect(taken.filter((id) => heavy.has(id as CalendarId))).toHaveLength(9);
});

test("while work waits, the next look is soon, and with nothing to do it is not", async () => {
  const store = await openStore();
  await connectDue(store, "acme", 3);
  const full = createListeningQueue({ background: 16 });
  expect(await feedOf(store, full.queue)()).toBe("full");
  const waitedFor = roomOf({ requests: 0, heldBy: undefined });
  expect(await feedOf(store, createListeningQueue().queue, { room: waitedFor })()).toBe("full");
  const { queue, added } = createListeningQueue();
  const feed = feedOf(store, queue, { room: roomOf({ requests: 2, heldBy: undefined }) });
  expect(await feed()).toBe("took");
  // On their way to the ledger, which knows of no call that waits.
  expect(await feed()).toBe("full");
  expect(added).toHaveLength(2);
  await store.clock.advance(1_000);
  expect(await feed()).toBe("took");
  await store.clock.advance(1_000);
  expect(await feed()).toBe("idle");
});
