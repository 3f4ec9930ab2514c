import * as fc from "fast-check";
import { sql } from "kysely";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { ChangeStore } from "../../src/core/change-store.ts";
import { tenantId, type CalendarId, type TenantId } from "../../src/core/ids.ts";
import type { Database } from "../../src/store/database.ts";
import { noteChanges } from "../../src/store/note-changes.ts";
import { openPostgresDatabase } from "../../src/store/postgres-database.ts";
import { freshPostgresDatabase } from "../conformance/fresh-postgres.ts";
import {
  event,
  LEASE_MS,
  listEntry,
  must,
  openTestStore,
  tombstone,
  type TestStore,
} from "../conformance/store-fixture.ts";
import { createFeedConsumer, readMirror, type FeedConsumer } from "../support/follow-feed.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

vi.setConfig({ testTimeout: 120_000 });

const GOOGLE_IDS = ["one", "two", "three"];
const calendarIndex = fc.nat({ max: GOOGLE_IDS.length - 1 });
const items = fc.array(
  fc.record({
    id: fc.constantFrom("a", "b", "c", "d"),
    version: fc.nat({ max: 3 }),
    isGone: fc.boolean(),
  }),
  { maxLength: 5 },
);
const publish = fc.record({
  kind: fc.constant("publish" as const),
  calendar: calendarIndex,
  listing: fc.constantFrom<"full" | "incremental">("full", "incremental", "incremental"),
  items,
});
const step = fc.oneof(
  { weight: 5, arbitrary: publish },
  // From two processes at once, while somebody follows.
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("burst" as const),
      publishes: fc.uniqueArray(publish, { maxLength: 3, selector: ({ calendar }) => calendar }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("follow" as const),
      limit: fc.integer({ min: 1, max: 5 }),
      crash: fc.option(fc.nat({ max: 3 }), { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("go-back" as const), pages: fc.nat(3) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom("lose" as const, "return" as const),
      calendar: calendarIndex,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      { kind: "revoke" } as const,
      { kind: "reconnect" } as const,
      { kind: "pause" } as const,
      { kind: "resume" } as const,
    ),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("forget" as const),
      limit: fc.integer({ min: 1, max: 8 }),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Publish = Extract<Step, { readonly kind: "publish" }>;

interface Play {
  /** Two processes. */
  readonly stores: readonly [TestStore, TestStore];
  readonly tenant: TenantId;
  readonly calendars: readonly CalendarId[];
  readonly consumer: FeedConsumer;
}

async function begin(
  stores: Play["stores"],
  tenant: TenantId,
  spoil: (changes: ChangeStore) => Pick<ChangeStore, "read" | "head">,
): Promise<Play> {
  const [store] = stores;
  // What earlier plays left is not what this one is to forget.
  while ((await store.changes.forget(store.later(1), 1_000)) > 0);
  const { calendars } = await store.connect(tenant, "ann", GOOGLE_IDS);
  const consumer = createFeedConsumer(tenant, store, spoil(store.changes));
  await consumer.step({ limit: 1 });
  return { stores, tenant, calendars, consumer };
}

async function playStep(play: Play, one: Step): Promise<void> {
  const { stores, consumer } = play;
  const [store, other] = stores;
  await store.clock.advance(1_000);
  switch (one.kind) {
    case "publish":
      return playPublish(play, store, one);
    case "burst": {
      const publishing = one.publishes.map((single, index) =>
        playPublish(play, index % 2 === 0 ? store : other, single),
      );
      const following = [1, 2, 3].map(() => consumer.step.bind(consumer, { limit: 1 }));
      await Promise.all([...publishing, oneAfterTheOther(following)]);
      return;
    }
    case "follow":
      await consumer.step(one);
      return;
    case "go-back":
      consumer.goBack(one.pages);
      return;
    case "forget":
      await other.changes.forget(store.later(1), one.limit);
      return;
    case "lose":
    case "return":
    case "revoke":
    case "reconnect":
    case "pause":
    case "resume":
      return playAccount(play, one);
  }
}

async function playAccount(
  { stores: [store, other], tenant }: Play,
  one: Exclude<Step, { kind: "publish" | "burst" | "follow" | "go-back" | "forget" }>,
): Promise<void> {
  const [account] = await store.accounts.list({ tenantId: tenant, limit: 1 });
  const { id, name, projectId, state } = must(account);
  const by = { actor: "olga", now: store.now() };
  switch (one.kind) {
    case "lose":
    case "return": {
      if (state !== "connected") return;
      const googleId = GOOGLE_IDS[one.calendar] ?? "";
      const entries = [listEntry(googleId, { isDeleted: one.kind === "lose" })];
      await other.discover(id, { kind: "incremental", entries });
      return;
    }
    case "revoke":
      await other.accounts.markNeedsReconnect(id, "GCAL_CREDENTIALS_REVOKED");
      return;
    case "reconnect": {
      const connection = { projectId, tenantId: tenant, name, quotaUser: undefined, scopes: [] };
      await store.accounts.connect({ ...connection, refreshToken: "token", now: store.now() });
      return;
    }
    case "pause":
      await store.accounts.setOperatorPause(id, { reason: "hold" }, by);
      return;
    case "resume":
      await store.accounts.setOperatorPause(id, undefined, by);
      return;
  }
}

async function oneAfterTheOther(steps: readonly (() => Promise<unknown>)[]): Promise<void> {
  for (const run of steps) await run();
}

async function playPublish(play: Play, store: TestStore, one: Publish): Promise<void> {
  const id = must(play.calendars[one.calendar]);
  await store.calendars.request(id, { class: "poll", dueAt: store.now() });
  const begun = await store.refreshes.begin(id, { now: store.now(), until: store.later(LEASE_MS) });
  if (begun.kind !== "begun") return;
  await store.publish(begun.lease, {
    kind: begun.state.generation === 0 ? "full" : one.listing,
    items: one.items.map(({ id: eventId, version, isGone }) =>
      isGone ? tombstone(eventId) : event(eventId, { summary: `version ${String(version)}` }),
    ),
    served: begun.state.requested,
  });
}

/** Whatever happens, who has applied the feed to its end has what the mirror has. */
function property(
  stores: Play["stores"],
  spoil: (changes: ChangeStore) => Pick<ChangeStore, "read" | "head"> = (changes) => changes,
): fc.IAsyncProperty<[Step[]]> {
  let plays = 0;
  return fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
    plays += 1;
    const play = await begin(stores, tenantId(`tenant-${String(plays)}`), spoil);
    for (const one of steps) await playStep(play, one);
    while (await play.consumer.step({ limit: 3 }));
    const truth = await readMirror(play.tenant, stores[0]);
    expect(play.consumer.state()).toEqual(truth);
  });
}

async function openTwo(url: string): Promise<Play["stores"]> {
  const store = await openTestStore(url);
  return [store, await openTestStore(url, { clock: store.clock })];
}

/** A feed in which nothing is ever deleted. */
function withoutDeletions(changes: ChangeStore): Pick<ChangeStore, "read" | "head"> {
  return {
    head: (tenant) => changes.head(tenant),
    read: async (tenant, page) => {
      const read = await changes.read(tenant, page);
      if (read.kind === "forgotten") return read;
      const told = read.changes.filter(({ kind }) => kind !== "event-deleted");
      return { ...read, changes: told };
    },
  };
}

describe("who applies the feed of changes has the mirror's state", () => {
  test("on SQLite", async () => {
    const stores = await openTwo(`sqlite:${await temporaryDirectory()}/feed.db`);
    await expect(fc.assert(property(stores), { numRuns: 30 })).resolves.toBeUndefined();
  });

  test("on Postgres, with two processes that publish at once", async () => {
    const stores = await openTwo(await freshPostgresDatabase());
    await expect(fc.assert(property(stores), { numRuns: 20 })).resolves.toBeUndefined();
  });

  test("control: a feed that leaves deletions out is found out", async () => {
    const stores = await openTwo(`sqlite:${await temporaryDirectory()}/feed.db`);
    const options = { numRuns: 200, endOnFailure: true };
    const outcome = await fc.check(property(stores, withoutDeletions), options);
    expect(outcome.failed).toBe(true);
  });
});

/** Two transactions tell of one tenant, while somebody follows; what was seen, in its order. */
async function follow(options: { readonly withLock: boolean }): Promise<readonly string[]> {
  const url = await freshPostgresDatabase();
  const store = await openTestStore(url);
  const { tenantId: tenant } = (await store.connect("acme", "ann", [])).account;
  const opened = openPostgresDatabase(url);
  onTestFinished(() => opened.close());
  const dialect = { ...opened.dialect, excludeOthersOf: () => Promise.resolve() };
  const database: Database = options.withLock ? opened : { ...opened, dialect };
  let after = await store.changes.head(tenant);
  const numbered = Promise.withResolvers<undefined>();
  const mayCommit = Promise.withResolvers<undefined>();
  const late = database.write(async (trx) => {
    await noteChanges(database, trx, [changeOf(tenant, "late")]);
    numbered.resolve(undefined);
    await mayCommit.promise;
  });
  await numbered.promise;
  const early = database.write((trx) => noteChanges(database, trx, [changeOf(tenant, "early")]));
  const seen: string[] = [];
  const read = async (): Promise<void> => {
    const page = await store.changes.read(tenant, { after, limit: 10 });
    if (page.kind === "forgotten") throw new Error("forgotten");
    after = page.next;
    for (const change of page.changes) if ("eventId" in change) seen.push(change.eventId);
  };
  // The reader was faster than the late one, or the early one waits behind it.
  while (seen.length === 0 && !(await isSomebodyWaiting(database))) await read();
  mayCommit.resolve(undefined);
  await Promise.all([late, early]);
  await read();
  return seen;
}

describe("a change that was numbered first and committed last", () => {
  test("is not skipped: the other one waits for its commit", async () => {
    expect(await follow({ withLock: true })).toEqual(["late", "early"]);
  });

  test("waits for nobody who holds its tenant, and who may be waiting for the feed himself", async () => {
    const url = await freshPostgresDatabase();
    const store = await openTestStore(url);
    const { tenantId: tenant } = (await store.connect("acme", "ann", [])).account;
    const database = openPostgresDatabase(url);
    onTestFinished(() => database.close());
    const head = await store.changes.head(tenant);
    await database.write(async (trx) => {
      await sql`select id from tenants for update`.execute(trx);
      await database.write((other) => noteChanges(database, other, [changeOf(tenant, "e")]));
    });
    expect(await store.changes.head(tenant)).toBe(head + 1);
  });

  test("control: numbered by the sequence alone, it is never seen", async () => {
    expect(await follow({ withLock: false })).toEqual(["early"]);
  });
});

function changeOf(tenant: TenantId, eventKey: string): Parameters<typeof noteChanges>[2][number] {
  return {
    tenantId: tenant,
    accountId: "acc_1",
    calendarId: "cal_1",
    eventKey,
    kind: "event-created",
    generation: 1,
    at: 1,
  };
}

async function isSomebodyWaiting(database: Database): Promise<boolean> {
  const { rows } = await database.read((db) =>
    sql`select 1 from pg_locks where locktype = 'advisory' and not granted
      and database = (select oid from pg_database where datname = current_database())`.execute(db),
  );
  return rows.length > 0;
}
