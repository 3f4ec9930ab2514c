import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { projectId, type CalendarId } from "../../src/core/ids.ts";
import type { PollKind, PollStore } from "../../src/core/poll-store.ts";
import { StoreUnavailable } from "../../src/core/refusal.ts";
import { createReadRecorder } from "../../src/read/record-reads.ts";
import { startPollPlans, type PollPlans } from "../../src/sync/keep-poll-plan.ts";
import { parsePollPlan, type PollPlan } from "../../src/sync/plan-polls.ts";
import { HOUR_MS, must, openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const PROJECT = projectId("default");
const DAY_MS = 24 * HOUR_MS;
const INTERVALS = { pollMs: 900_000, safetyMs: DAY_MS, listsMs: 6 * HOUR_MS };
const LIMITS = { perDay: 1_000_000, perMinute: 10_000, dayReserve: 0.15, minuteReserve: 0.1 };

async function openStore(): Promise<TestStore> {
  return openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
}

async function connect(store: TestStore, count: number, kind: PollKind): Promise<CalendarId[]> {
  const names = Array.from({ length: count }, (_, at) => `calendar-${String(at)}`);
  const { calendars } = await store.connect("acme", "ann", names);
  for (const id of calendars) {
    await store.refresh(id, {
      nextPoll: { kind, dueAt: store.later(DAY_MS), reason: "poll" },
    });
  }
  return [...calendars];
}

interface Process {
  readonly plans: PollPlans;
  readonly news: PollPlan[];
  /** Until it has looked so often. */
  readonly looked: () => Promise<void>;
}

/** A worker's keeper of the plan; its clock is the store's. */
function startProcess(
  store: TestStore,
  options: { readonly hasPush?: boolean; readonly perDay?: number } = {},
): Process {
  const news: PollPlan[] = [];
  const plans = startPollPlans(
    { projectId: PROJECT, intervals: INTERVALS, hasPush: options.hasPush ?? true },
    {
      polls: store.polls,
      limits: () => Promise.resolve({ ...LIMITS, perDay: options.perDay ?? LIMITS.perDay }),
      clock: store.clock,
      random: () => 0.5,
      onError: (error) => {
        throw error;
      },
      onNews: (plan) => {
        news.push(plan);
      },
    },
  );
  onTestFinished(() => plans.stop());
  return {
    plans,
    news,
    looked: () => vi.waitFor(() => expect(store.clock.sleepers()).toBeGreaterThan(0), 60_000),
  };
}

test("one process counts in ten minutes, and every one plans by what it kept", async () => {
  const store = await openStore();
  await connect(store, 30, "active");
  const first = startProcess(store, { perDay: 2_880 });
  await first.looked();
  const kept = must(parsePollPlan(await store.polls.plan(PROJECT)));
  const active = must(kept.kinds.find(({ kind }) => kind === "active"));
  expect(active.intervalMs).toBeGreaterThan(INTERVALS.pollMs * 1.1);
  expect(kept.sum).toBeLessThanOrEqual(2_880);
  expect(first.news).toEqual([kept]);

  const second = startProcess(store);
  await vi.waitFor(() => expect(second.news).toEqual([kept]), 60_000);
  const facts = {
    watchState: "unwatched",
    generation: 1,
    changedAt: store.now(),
    readAt: undefined,
    channel: undefined,
    isSilent: false,
  } as const;
  const planned = second.plans.planPoll(facts, store.now());
  expect(planned.kind).toBe("active");
  expect(planned.dueAt - store.now()).toBeCloseTo(active.intervalMs, -1);
  expect(second.plans.listsIntervalMs()).toBe(DAY_MS);

  await store.clock.advance(600_000);
  await second.plans.look();
  await vi.waitFor(async () => {
    const plan = must(parsePollPlan(await store.polls.plan(PROJECT)));
    expect(plan.at).toBe(store.now());
  }, 60_000);
});

test("where no address is left for notifications, what rested on them is polled within its interval", async () => {
  const store = await openStore();
  const calendars = await connect(store, 3, "live");
  const { looked } = startProcess(store, { hasPush: false });
  await looked();
  for (const id of calendars) {
    const { dueAt } = must(await store.calendars.get(id));
    expect(must(dueAt) - store.now()).toBeLessThanOrEqual(INTERVALS.pollMs * 1.25);
    expect(await store.polls.of(id)).toMatchObject({ kind: "active" });
  }
});

test("a push path found silent pulls in as many as the budget lets be polled, and no more", async () => {
  const store = await openStore();
  const calendars = await connect(store, 20, "live");
  for (const [at, calendarId] of calendars.slice(0, 5).entries()) {
    const createdAt = store.now();
    const id = `silent-${String(at)}`;
    await store.channels.add({ id, calendarId, createdAt, reason: "silent" });
    await store.channels.confirm(id, { resourceId: "r", expiresAt: store.later(30 * DAY_MS) });
  }
  await store.clock.advance(HOUR_MS);
  // Six in ten minutes are left for polls.
  const { looked, news } = startProcess(store, { perDay: 1_300 });
  await looked();
  expect(news).toMatchObject([{ isPushSilent: true }]);
  const kinds = async (): Promise<Partial<Record<PollKind, number>>> => {
    const { calendars: counts } = await store.polls.census(PROJECT, store.now());
    return { live: counts.live, unproven: counts.unproven };
  };
  const { live = 0, unproven = 0 } = await kinds();
  expect(live + unproven).toBe(20);
  expect(unproven).toBeGreaterThan(0);
  expect(unproven).toBeLessThan(10);
});

test("after nobody listened for a while, calendars that rested on their channels are polled within the hour", async () => {
  const store = await openStore();
  const calendars = await connect(store, 3, "live");
  const listen = (): Promise<void> =>
    store.polls.noteListening(PROJECT, { now: store.now(), gapMs: 120_000 });
  await listen();
  const { plans, looked } = startProcess(store);
  await looked();
  await store.clock.advance(HOUR_MS);
  await plans.look();
  expect(await store.polls.of(must(calendars[0]))).toMatchObject({ kind: "live" });
  await listen();
  await plans.look();
  for (const id of calendars) {
    const { dueAt } = must(await store.calendars.get(id));
    expect(must(dueAt) - store.now()).toBeLessThanOrEqual(HOUR_MS * 1.25);
    expect(await store.polls.of(id)).toMatchObject({ kind: "unproven" });
  }
});

test("with a push path that tells nobody is pulled in", async () => {
  const store = await openStore();
  const [id] = await connect(store, 1, "live");
  const { looked, news } = startProcess(store);
  await looked();
  expect(news).toEqual([]);
  expect(await store.polls.of(must(id))).toMatchObject({ kind: "live" });
});

test("reads are written once in a while, together, and off the reader's way; what fails is noted later", async () => {
  const store = await openStore();
  const [id = must<CalendarId>(undefined)] = await connect(store, 1, "idle");
  const writes: number[] = [];
  let isDown = true;
  const polls: Pick<PollStore, "noteReads"> = {
    noteReads: (ids, read) => {
      writes.push(ids.length);
      return isDown
        ? Promise.reject(new StoreUnavailable({ message: "away", retryAfterMs: 1 }))
        : store.polls.noteReads(ids, read);
    },
  };
  const errors: unknown[] = [];
  const recorder = createReadRecorder({
    polls,
    clock: store.clock,
    random: () => 0.5,
    onError: (error) => {
      errors.push(error);
    },
  });
  const gathered = async (): Promise<void> => {
    const before = writes.length;
    await store.clock.advance(5_000);
    await vi.waitFor(() => expect(writes.length).toBeGreaterThan(before), 60_000);
  };
  for (let n = 0; n < 1_000; n += 1) recorder.note([id, id], store.now());
  expect(writes).toEqual([]);
  await gathered();
  isDown = false;
  await vi.waitFor(() => {
    recorder.note([id], store.now());
    expect(store.clock.sleepers()).toBe(1);
  }, 60_000);
  await gathered();
  await vi.waitFor(
    async () => expect(await store.polls.of(id)).toMatchObject({ readAt: store.now() }),
    60_000,
  );
  expect(writes).toEqual([1, 1]);

  recorder.note([id], store.later(5 * HOUR_MS));
  expect(store.clock.sleepers()).toBe(0);
  recorder.note([id], store.later(6 * HOUR_MS + 1));
  await recorder.close();
  expect(writes).toEqual([1, 1, 1]);
  recorder.note([id], store.later(100 * HOUR_MS));
  await recorder.close();
  expect(writes).toEqual([1, 1, 1]);
  expect(errors).toEqual([]);
});
