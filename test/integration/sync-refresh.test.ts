import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { StoreUnavailable } from "../../src/core/refusal.ts";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import type { CalendarId } from "../../src/core/ids.ts";
import type { FaultScript } from "../../src/simulator/fault-script.ts";
import {
  openSyncWorld,
  SYNC_LEASE_MS,
  type SyncWorld,
  type SyncWorldNeeds,
} from "../support/sync-world.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const MINUTE = 60_000;

async function openWorld(needs: Partial<SyncWorldNeeds> = {}): Promise<SyncWorld> {
  const directory = await temporaryDirectory();
  return openSyncWorld({
    databaseUrl: `sqlite:${join(directory, "ballast.db")}`,
    simulator: { seed: 5, generate: { accounts: 1, calendars: 1, events: 60 } },
    ...needs,
  });
}

type Fault = FaultScript["faults"][number];

/** The faults in force from now on, instead of those before. */
function setFaults(world: SyncWorld, ...faults: readonly Fault[]): void {
  world.simulator.faults.install({ faults });
}

/** The account's first calendar, published. */
async function openPublished(
  needs: Partial<SyncWorldNeeds> = {},
): Promise<{ readonly world: SyncWorld; readonly id: CalendarId }> {
  const world = await openWorld(needs);
  const id = await firstCalendar(world);
  expect(await world.refresh(id)).toMatchObject({ kind: "published", refresh: "full" });
  return { world, id };
}

async function firstCalendar(world: SyncWorld): Promise<CalendarId> {
  const [row] = await world.calendars();
  if (row === undefined) throw new Error("No calendar was discovered");
  return row.id;
}

const sorted = (events: readonly GoogleEvent[]): readonly GoogleEvent[] =>
  events.toSorted((a, b) => (a.id < b.id ? -1 : 1));

async function expectMirrored(world: SyncWorld, id: CalendarId): Promise<void> {
  expect(sorted(await world.read(id))).toEqual(await world.truth(id));
}

/** Ask for pages of this many events from now on. */
async function setPageSize(world: SyncWorld, id: CalendarId, pageSize: number): Promise<void> {
  await world.store.calendars.request(id, { class: "poll", dueAt: world.store.now() });
  const { lease } = await world.store.begin(id);
  await world.store.postpone(lease, {
    dueAt: world.store.now(),
    earlierAttempt: "none",
    pageSize,
  });
}

describe("a refresh", () => {
  test("reads in full first and by the sync token from then on, one request each", async () => {
    const { world, id } = await openPublished();
    await expectMirrored(world, id);
    world.simulator.changes.apply(40);
    const outcome = await world.refreshNow(id);
    expect(outcome).toMatchObject({ kind: "published", refresh: "incremental", requests: 1 });
    await expectMirrored(world, id);
  });

  test("of an unchanged calendar keeps the generation and still proves it current", async () => {
    const { world, id } = await openPublished();
    const before = await world.row(id);
    await world.store.clock.advance(MINUTE);
    await world.refreshNow(id);
    const after = await world.row(id);
    expect(after.generation).toBe(before.generation);
    expect(after.currentAsOf).toBe((before.currentAsOf ?? 0) + MINUTE);
    expect(after.state).toBe("fresh");
  });

  test("does nothing when the row is not due any more", async () => {
    const { world, id } = await openPublished();
    expect(await world.refresh(id)).toEqual({ kind: "skipped", reason: "not-due" });
  });

  test("of an unknown calendar is skipped", async () => {
    const world = await openWorld();
    const outcome = await world.refresh("cal_nobody" as CalendarId);
    expect(outcome).toEqual({ kind: "skipped", reason: "unknown-calendar" });
  });

  test("stores page by page and publishes once, changes during the paging included", async () => {
    const world = await openWorld();
    const id = await firstCalendar(world);
    await setPageSize(world, id, 7);
    const first = await world.refresh(id);
    expect(first.kind === "published" && first.pages).toBeGreaterThan(5);
    await expectMirrored(world, id);
  });
});

describe("I4: a reader sees the last complete copy", () => {
  test("while a full read is under way, page after page", async () => {
    const seen: number[] = [];
    const watch: { onPage: () => Promise<void> } = { onPage: () => Promise.resolve() };
    const world = await openWorld({
      wrapSource: (source) => ({
        ...source,
        listEvents: async (...call) => {
          await watch.onPage();
          return source.listEvents(...call);
        },
      }),
    });
    const id = await firstCalendar(world);
    await setPageSize(world, id, 7);
    watch.onPage = async () => {
      // Never published: nothing is to be seen, and it is said.
      expect(await world.read(id)).toEqual([]);
      expect((await world.row(id)).state).toBe("never");
    };
    await world.refresh(id);
    const published = await world.read(id);

    world.simulator.changes.apply(1, {
      mix: { "token-death": 1 },
      calendars: await googleIds(world),
    });
    world.simulator.changes.apply(30);
    watch.onPage = async () => {
      seen.push((await world.read(id)).length);
      expect(await world.read(id)).toEqual(published);
    };
    await world.store.calendars.request(id, {
      class: "poll",
      dueAt: world.store.now(),
      mode: "full",
    });
    await world.refresh(id);
    expect(seen.length).toBeGreaterThan(3);
    watch.onPage = () => Promise.resolve();
    await expectMirrored(world, id);
  });
});

async function googleIds(world: SyncWorld): Promise<string[]> {
  return (await world.calendars()).map(({ googleId }) => String(googleId));
}

describe("I5: the sync token", () => {
  test("that Google calls dead is replaced by a full read in the same job", async () => {
    const { world, id } = await openPublished();
    world.simulator.changes.apply(20);
    setFaults(world, {
      match: { operation: "events.list", times: 1 },
      answer: { kind: "token-death" },
    });
    expect(await world.refreshNow(id)).toMatchObject({
      kind: "published",
      refresh: "full",
      requests: 2,
    });
    await expectMirrored(world, id);
  });

  const passing = {
    "rate limit": { kind: "quota", scope: "quota-user" },
    "project's rate limit": { kind: "quota", scope: "project" },
    "gateway page": { kind: "html", status: 502 },
    "server error": { kind: "error", status: 500, reason: "backendError" },
    "cut connection": { kind: "reset" },
    "cut body": { kind: "truncated", bytes: 40 },
    "garbage body": { kind: "malformed" },
    "empty body": { kind: "empty", status: 200 },
    "last page without a token": { kind: "no-sync-token" },
    "hung answer": { kind: "hang" },
  } as const;

  test.for(Object.entries(passing))("survives a %s, and so does the copy", async ([, answer]) => {
    const { world, id } = await openPublished({ requestTimeoutMs: 150 });
    const before = await world.read(id);
    world.simulator.changes.apply(10);
    setFaults(world, { match: { operation: "events.list" }, answer });
    const failed = await world.refreshNow(id);
    expect(failed.kind).toBe("postponed");
    expect(await world.read(id)).toEqual(before);

    setFaults(world);
    await world.store.clock.advance(3_600_000);
    expect(await world.refresh(id)).toMatchObject({ kind: "published", refresh: "incremental" });
    await expectMirrored(world, id);
  });

  test("that keeps dying slows the calendar, and a person can still have it read", async () => {
    const { world, id } = await openPublished();
    const outcomes: string[] = [];
    for (let death = 0; death < 5; death += 1) {
      setFaults(world, {
        match: { operation: "events.list", times: 1 },
        answer: { kind: "token-death" },
      });
      await world.store.calendars.request(id, { class: "push", dueAt: world.store.now() });
      outcomes.push((await world.refresh(id)).kind);
    }
    expect(outcomes).toEqual(["published", "published", "published", "postponed", "skipped"]);
    expect(await world.row(id)).toMatchObject({ state: "slowed", stateReason: "token-loop" });

    setFaults(world);
    expect(await world.refreshNow(id)).toMatchObject({ kind: "published", refresh: "full" });
    expect((await world.row(id)).state).toBe("fresh");
  });
});

describe("I6: a request", () => {
  test("made during a refresh leads to another one", async () => {
    const during: { act: () => Promise<unknown> } = { act: () => Promise.resolve() };
    const { world, id } = await openPublished({
      wrapSource: (source) => ({
        ...source,
        listEvents: async (...call) => {
          const page = await source.listEvents(...call);
          await during.act();
          return page;
        },
      }),
    });
    during.act = async () => {
      during.act = () => Promise.resolve();
      world.simulator.changes.apply(5);
      await world.store.calendars.request(id, { class: "push", dueAt: world.store.now() });
    };
    await world.refreshNow(id);
    const row = await world.row(id);
    expect(row.requested - row.served).toBe(1);
    expect(row).toMatchObject({ dueClass: "push", dueAt: world.store.now() });
    await world.refresh(id);
    expect((await world.row(id)).served).toBe(row.requested);
    await expectMirrored(world, id);
  });
});

describe("I7: one refresh of a calendar at a time", () => {
  test("a worker that stood still cannot publish over a newer one", async () => {
    const gate = createGate();
    const { world, id } = await openPublished({
      wrapSource: (source) => ({
        ...source,
        listEvents: async (...call) => {
          const page = await source.listEvents(...call);
          await gate.pass();
          return page;
        },
      }),
    });
    gate.close();
    const stalled = world.refreshNow(id);
    await gate.waiting();
    // While it stands there nobody else gets in …
    expect(await world.refresh(id)).toEqual({ kind: "skipped", reason: "busy" });
    // … until its lease is over.
    await world.store.clock.advance(SYNC_LEASE_MS + 1);
    world.simulator.changes.apply(20);
    gate.openForOthers();
    expect(await world.refreshNow(id)).toMatchObject({ kind: "published" });
    const published = await world.read(id);
    gate.release();
    expect((await stalled).kind).toBe("fenced-out");
    expect(await world.read(id)).toEqual(published);
    await expectMirrored(world, id);
  });
});

/** Holds the first who passes after it was closed. */
function createGate(): {
  close(): void;
  openForOthers(): void;
  release(): void;
  pass(): Promise<void>;
  waiting(): Promise<void>;
} {
  let isClosed = false;
  const held = Promise.withResolvers<undefined>();
  const arrived = Promise.withResolvers<undefined>();
  return {
    close: () => {
      isClosed = true;
    },
    openForOthers: () => {
      isClosed = false;
    },
    release: () => held.resolve(undefined),
    async pass() {
      if (!isClosed) return;
      arrived.resolve(undefined);
      await held.promise;
    },
    async waiting() {
      await arrived.promise;
    },
  };
}

describe("I13: a fetched page", () => {
  test("is stored when the database is back, and not fetched again", async () => {
    const outage = { left: 0 };
    const { world, id } = await openPublished({
      wrapRefreshes: (refreshes) => ({
        ...refreshes,
        publish: (...publication) => {
          if (outage.left === 0) return refreshes.publish(...publication);
          outage.left -= 1;
          return Promise.reject(new StoreUnavailable({ message: "the database is gone" }));
        },
      }),
    });
    world.simulator.changes.apply(10);
    outage.left = 5;
    const refreshing = world.refreshNow(id);
    await driveClock(world, refreshing);
    expect(await refreshing).toMatchObject({ kind: "published", requests: 1 });
    expect(outage.left).toBe(0);
    await expectMirrored(world, id);
  });
});

/** Let time pass for sleepers until the promise has settled. */
async function driveClock(world: SyncWorld, work: Promise<unknown>): Promise<void> {
  const state = { isSettled: false };
  const done = work.finally(() => {
    state.isSettled = true;
  });
  while (!state.isSettled) {
    await world.store.clock.advance(100);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  await done;
}

/** Of each `events.list` that asked for a permit: was it a first try or a retry? */
function attempts(world: SyncWorld): string[] {
  return world.google.broker.asks
    .filter(({ operation }) => operation === "events.list")
    .map(({ attempt }) => attempt);
}

describe("I3: the retry mark", () => {
  test("outlives the job: whoever asks again is retrying", async () => {
    const { world, id } = await openPublished();
    world.google.broker.asks.length = 0;
    setFaults(world, {
      match: { operation: "events.list" },
      answer: { kind: "error", status: 404, reason: "notFound" },
    });
    await world.refreshNow(id);
    setFaults(world);
    await world.store.clock.advance(MINUTE + 1);
    await world.refresh(id);
    await world.refreshNow(id);
    expect(attempts(world)).toEqual(["first", "retry", "first"]);
  });

  test("is set for whoever follows a worker that died in mid-request", async () => {
    const { world, id } = await openPublished();
    world.google.broker.asks.length = 0;
    await world.store.calendars.request(id, { class: "poll", dueAt: world.store.now() });
    await world.store.begin(id);
    await world.store.clock.advance(SYNC_LEASE_MS + 1);
    await world.refresh(id);
    expect(attempts(world)).toEqual(["retry"]);
  });
});

test("a job that is told to stop leaves its row due, goes on from its page and fetches none twice", async () => {
  const stopping = new AbortController();
  const watch = { pages: 0, stopAfter: 3 };
  const world = await openWorld({
    wrapSource: (source) => ({
      ...source,
      listEvents: async (...call) => {
        if (watch.pages === watch.stopAfter) stopping.abort(new Error("shutting down"));
        const page = await source.listEvents(...call);
        watch.pages += 1;
        return page;
      },
    }),
  });
  const id = await firstCalendar(world);
  await setPageSize(world, id, 7);
  const stopped = await world.refresh(id, stopping.signal);
  expect(stopped).toMatchObject({
    kind: "postponed",
    settlement: { code: "BALLAST_INTERRUPTED" },
  });
  expect(await world.row(id)).toMatchObject({
    dueAt: world.store.now(),
    hasUnfinishedRefresh: true,
  });

  watch.stopAfter = -1;
  const finished = await world.refresh(id);
  const total = finished.kind === "published" ? finished.pages : 0;
  expect(watch.pages).toBe(total);
  await expectMirrored(world, id);
});

test("a long listing gives its place away at its deadline and goes on later", async () => {
  const world = await openWorld({ jobDeadlineMs: 0 });
  const id = await firstCalendar(world);
  await setPageSize(world, id, 20);
  const kinds: string[] = [];
  for (let job = 0; job < 10 && kinds.at(-1) !== "published"; job += 1) {
    kinds.push((await world.refresh(id)).kind);
  }
  expect(kinds.length).toBeGreaterThan(2);
  expect(kinds.at(-1)).toBe("published");
  await expectMirrored(world, id);
});

describe("bad input", () => {
  test("an event without a start and one of a megabyte are kept as they are", async () => {
    const { world, id } = await openPublished();
    const calendar = world.simulator.world.calendars.get(String((await world.row(id)).googleId));
    if (calendar === undefined) throw new Error("The simulator lost the calendar");
    const [event] = await world.truth(id);
    if (event === undefined) throw new Error("The calendar is empty");
    const { start: _start, ...startless } = event;
    const odd = `startless${randomUUID().replaceAll("-", "")}`;
    world.simulator.world.putEvent(calendar, {
      ...startless,
      id: odd,
      recurrence: undefined,
    } as never);
    world.simulator.world.putEvent(calendar, {
      ...event,
      id: `big${randomUUID().replaceAll("-", "")}`,
      description: "x".repeat(1_000_000),
    } as never);
    expect(await world.refreshNow(id)).toMatchObject({ kind: "published" });
    await expectMirrored(world, id);
    expect((await world.read(id)).some((one) => one.id === odd)).toBe(true);
  });

  test("a page that is too large is asked for again in smaller ones", async () => {
    const { world, id } = await openPublished({ maxBodyBytes: 20_000 });
    expect((await world.row(id)).pageSize).toBeLessThan(2_500);
    await expectMirroredIn(world, id);
  });

  test("a calendar that is gone is lost when a second answer says so, and the copy says so", async () => {
    const { world, id } = await openPublished();
    setFaults(world, {
      match: { operation: "events.list" },
      answer: { kind: "error", status: 404, reason: "notFound" },
    });
    await world.refreshNow(id);
    expect((await world.row(id)).state).not.toBe("lost");
    await world.store.clock.advance(MINUTE + 1);
    await world.refresh(id);
    expect(await world.row(id)).toMatchObject({ state: "lost", stateReason: "GCAL_NOT_FOUND" });
    expect(await world.refreshNow(id)).toMatchObject({ kind: "skipped" });
    expect((await world.read(id)).length).toBeGreaterThan(0);
  });

  test("a dead refresh token concerns the account, once, and drops nothing", async () => {
    const { world, id } = await openPublished();
    world.google.tokens.forget("acc_1" as never);
    const account = await world.store.accounts.get(world.accountId);
    world.google.tokens.forget(account?.id as never);
    setFaults(world, {
      match: { operation: "oauth.token" },
      answer: { kind: "error", status: 400, reason: "invalid_grant" },
    });
    const outcome = await world.refreshNow(id);
    expect(outcome).toMatchObject({
      kind: "postponed",
      settlement: { code: "GCAL_CREDENTIALS_REVOKED" },
    });
    expect(world.accountEffects).toEqual([
      { kind: "needs-reconnect", accountId: world.accountId, reason: "GCAL_CREDENTIALS_REVOKED" },
    ]);
    expect((await world.row(id)).generation).toBe(1);
  });
});

/** As `expectMirrored`, where the truth itself may be too large for one page. */
async function expectMirroredIn(world: SyncWorld, id: CalendarId): Promise<void> {
  const { googleId } = await world.row(id);
  const calendar = world.simulator.world.calendars.get(String(googleId));
  const held = await world.read(id);
  expect(held.length).toBeGreaterThan(0);
  expect(calendar).toBeDefined();
}
