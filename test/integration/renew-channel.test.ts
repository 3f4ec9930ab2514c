import { join } from "node:path";
import { expect, test } from "vitest";
import { CallFailed } from "../../src/core/failure.ts";
import { consumer, type CalendarId } from "../../src/core/ids.ts";
import type { PushChannels } from "../../src/core/push-channels.ts";
import { createJudgeSilence } from "../../src/sync/judge-silence.ts";
import { createRenewChannel, type RenewOutcome } from "../../src/sync/renew-channel.ts";
import { HOUR_MS, openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const LIFE_MS = 100 * HOUR_MS;
const OPTIONS = {
  leaseMs: 120_000,
  callDeadlineMs: 1_000,
  graceMs: 1_000,
  againAfterMs: 6 * HOUR_MS,
  pollWithinMs: 900_000,
  unprovenPollMs: HOUR_MS,
  consumer: consumer("test"),
};

interface World {
  readonly store: TestStore;
  readonly id: CalendarId;
  /** What Google was asked, in order. */
  readonly asked: string[];
  /** The next watches fail with these. */
  readonly failures: CallFailed[];
  /** Do the work if it is due. */
  readonly work: () => Promise<RenewOutcome | undefined>;
  readonly open: () => Promise<readonly string[]>;
}

async function openWorld(): Promise<World> {
  const store = await openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
  const id = await store.connectOne();
  const asked: string[] = [];
  const failures: CallFailed[] = [];
  const push: PushChannels = {
    watch: (_target, options) => {
      asked.push("watch");
      options.onSent?.();
      const failure = failures.shift();
      if (failure !== undefined) return Promise.reject(failure);
      return Promise.resolve({ resourceId: "resource", expiresAt: store.later(LIFE_MS) });
    },
    stop: ({ channelId, resourceId }) => {
      asked.push(`stop ${channelId} ${resourceId}`);
      return Promise.resolve("stopped");
    },
  };
  const renew = createRenewChannel(OPTIONS, {
    push,
    channels: store.channels,
    calendars: store.calendars,
    clock: store.clock,
    random: () => 0.5,
    onAccountEffect: () => Promise.resolve(),
  });
  return {
    store,
    id,
    asked,
    failures,
    async work() {
      const query = { now: store.now(), limit: 1, queuedForMs: 60_000 };
      const [claimed] = await store.channels.claimWatches(query);
      if (claimed === undefined) return undefined;
      return renew(id, { claim: claimed.claim, signal: new AbortController().signal });
    },
    async open() {
      return (await store.channels.listOfCalendar(id)).map(({ id: channel }) => channel);
    },
  };
}

test("a channel is opened once, and renewed before its end: the new one first, then the old one is stopped", async () => {
  const { store, asked, work, open } = await openWorld();
  expect(await work()).toMatchObject({ kind: "opened", reason: "first" });
  const [old] = await open();
  await store.clock.advance(LIFE_MS * 0.8);
  expect(await work()).toBeUndefined();
  await store.clock.advance(LIFE_MS * 0.1);
  expect(await work()).toMatchObject({ kind: "opened", reason: "expiring", stopped: 1 });
  expect(asked).toEqual(["watch", "watch", `stop ${String(old)} resource`]);
  expect(await open()).not.toContain(old);
});

test("a channel left by a crash before its answer is stopped by the resource of the next one", async () => {
  const { store, id, asked, work, open } = await openWorld();
  await store.channels.add({ id: "orphan", calendarId: id, createdAt: store.now() });
  await store.clock.advance(OPTIONS.leaseMs);
  expect(await work()).toMatchObject({ kind: "opened", stopped: 1 });
  expect(asked).toEqual(["watch", "stop orphan resource"]);
  expect(await open()).toHaveLength(1);
});

test("where the answer got lost the channel's row stays until it can be stopped", async () => {
  const { store, asked, failures, work, open } = await openWorld();
  failures.push(new CallFailed({ kind: "timed-out" }, { operation: "events.watch" }));
  expect(await work()).toMatchObject({ kind: "postponed", code: "GCAL_TIMED_OUT" });
  const [lost] = await open();
  await store.clock.advance(HOUR_MS);
  expect(await work()).toMatchObject({ kind: "opened", stopped: 1 });
  expect(asked.at(-1)).toBe(`stop ${String(lost)} resource`);
});

test("a calendar that Google does not push for is remembered and not asked for again", async () => {
  const { store, asked, failures, work, open } = await openWorld();
  failures.push(new CallFailed({ kind: "push-not-supported" }, { operation: "events.watch" }));
  expect(await work()).toMatchObject({ kind: "unwatchable" });
  await store.clock.advance(1_000 * HOUR_MS);
  expect(await work()).toBeUndefined();
  expect(asked).toEqual(["watch"]);
  expect(await open()).toEqual([]);
  expect(await store.channels.health(store.now())).toMatchObject({ unwatchable: 1 });
});

test("a silence is looked at twice: a message that came meanwhile keeps the channel", async () => {
  const { store, id, work, open } = await openWorld();
  await work();
  await store.clock.advance(10_000);
  const silence = { untoldSince: store.now(), dueAt: store.now(), pollBy: store.now() };
  const [channelId = ""] = await open();
  await store.channels.noteSilence(id, silence);
  const how = { now: store.now(), debounce: { quietMs: 1, mostMs: 1 } };
  const { lease, state } = await store.begin(id);
  await store.publish(lease, { served: state.requested });
  await store.channels.markNotified([{ calendarId: id, channelId }], how);
  expect(await work()).toMatchObject({ kind: "kept" });

  await store.clock.advance(10_000);
  await store.channels.noteSilence(id, {
    ...silence,
    untoldSince: store.now(),
    dueAt: store.now(),
  });
  expect(await work()).toMatchObject({ kind: "opened", reason: "silent", stopped: 1 });
  expect(await open()).not.toContain(channelId);
  expect((await store.calendars.get(id))?.requested).toBeGreaterThan(0);
});

test("a channel that replaced a silent one is left alone for hours when it is silent, too, and then replaced", async () => {
  const { store, id, asked, work, open } = await openWorld();
  await work();
  const judge = createJudgeSilence(OPTIONS, {
    channels: store.channels,
    clock: store.clock,
    random: () => 0.5,
  });
  const poll = async (): Promise<void> => {
    await store.clock.advance(OPTIONS.graceMs * 2);
    const items = [{ id: "event", updated: new Date(store.now()).toISOString() }];
    await judge({ calendarId: id, class: "poll", items });
    await store.clock.advance(OPTIONS.graceMs);
  };
  const silent = async (): Promise<number> => (await store.channels.health(store.now())).silent;
  await poll();
  expect(await silent()).toBe(1);
  expect(await work()).toMatchObject({ kind: "opened", reason: "silent" });
  expect(await silent()).toBe(0);

  await poll();
  expect(await silent()).toBe(1);
  expect(await work()).toBeUndefined();
  const watches = asked.filter((one) => one === "watch").length;
  await store.clock.advance(5 * HOUR_MS);
  expect(await work()).toBeUndefined();
  expect(asked.filter((one) => one === "watch")).toHaveLength(watches);
  await store.clock.advance(HOUR_MS);
  expect(await work()).toMatchObject({ kind: "opened", reason: "silent", stopped: 1 });
  expect(await silent()).toBe(0);
  expect(await open()).toHaveLength(1);
});
