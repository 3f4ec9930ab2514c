import { join } from "node:path";
import { expect, test } from "vitest";
import { createFeed } from "../../jobs/feed-queue.ts";
import { accountName, projectId, tenantId } from "../../src/core/ids.ts";
import type { WorkQueue } from "../../src/queue/work-queue.ts";
import { openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

interface Added {
  readonly job: string;
  readonly payload: unknown;
}

/** A queue whose workers take everything at once: what was added, in order. */
function createListeningQueue(): { readonly queue: WorkQueue; readonly added: Added[] } {
  const added: Added[] = [];
  return {
    added,
    queue: {
      add: (definition, payload) => {
        added.push({ job: definition.name, payload });
        return Promise.resolve();
      },
      waiting: () => Promise.resolve(0),
      close: () => Promise.resolve(),
    },
  };
}

async function openStore(): Promise<TestStore> {
  return openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
}

function feedOf(store: TestStore, queue: WorkQueue, queueDepth: number): () => Promise<number> {
  return createFeed(
    { queueDepth, perTenant: queueDepth, queuedForMs: 60_000 },
    {
      calendars: store.calendars,
      accounts: store.accounts,
      queue,
      clock: store.clock,
      storeHealth: { canStore: () => true },
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
  await feedOf(store, queue, 16)();
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

test("a full background queue does not hold back a person's refresh", async () => {
  const store = await openStore();
  const calendar = await store.connectOne();
  await store.refresh(calendar);
  await store.calendars.request(calendar, { class: "interactive", dueAt: store.now() });
  const { queue, added } = createListeningQueue();
  const full: WorkQueue = {
    ...queue,
    waiting: (name) => Promise.resolve(name === "background" ? 1_000 : 0),
  };
  expect(await feedOf(store, full, 16)()).toBe(1);
  expect(added).toMatchObject([{ payload: { calendarId: calendar, class: "interactive" } }]);
});
