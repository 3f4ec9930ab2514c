import { describe, expect, test } from "vitest";
import { FRESHNESS_TARGET_MS } from "../../src/core/calendar-state.ts";
import { calendarId as calendarIdOf, projectId, type CalendarId } from "../../src/core/ids.ts";
import type { PollFacts, PollKind } from "../../src/core/poll-store.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { event, HOUR_MS, LEASE_MS, must, openTestStore, type TestStore } from "./store-fixture.ts";

const PROJECT = projectId("default");
const DAY_MS = 24 * HOUR_MS;
const NOBODY = { first: 0, live: 0, unproven: 0, active: 0, idle: 0, unwatchable: 0, slowed: 0 };

/** Publish it, and leave its next poll to a plan that says so. */
async function publishAs(store: TestStore, id: CalendarId, kind: PollKind): Promise<PollFacts> {
  const seen: PollFacts[] = [];
  const result = await store.refresh(id, {
    nextPoll: (facts) => {
      seen.push(facts);
      return { kind, dueAt: store.later(DAY_MS), reason: "poll" };
    },
  });
  expect(result.kind).toBe("published");
  return must(seen.at(-1));
}

async function openChannel(store: TestStore, id: CalendarId): Promise<void> {
  await settle(store, "watched");
  const createdAt = store.now();
  await store.channels.add({ id: `of-${id}`, calendarId: id, createdAt });
  const answer = { resourceId: "r", expiresAt: store.later(10 * DAY_MS) };
  await store.channels.confirm(`of-${id}`, answer);
}

/** Begin and settle all work on channels that is due. */
async function settle(store: TestStore, state: "watched" | "unwatched"): Promise<void> {
  const query = { now: store.now(), limit: 10, queuedForMs: 60_000 };
  for (const { calendarId, claim } of await store.channels.claimWatches(query)) {
    const until = store.later(LEASE_MS);
    const work = must(await store.channels.beginWatch(calendarId, { claim, until }));
    await store.channels.settleWatch(calendarId, {
      until: work.until,
      state,
      dueAt: store.later(HOUR_MS),
      consecutiveFailures: 0,
      earlierAttempt: "none",
      isSilenceAnswered: true,
      pollBy: store.later(900_000),
    });
  }
}

/** Due times, how long copies count as fresh, and the plan that all processes share. */
export function pollConformance(freshDatabase: FreshDatabase): void {
  describe("polls", () => {
    test("a publish is told what decides about the next poll, as its row says then", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      expect(await publishAs(store, id, "active")).toEqual({
        watchState: "unwatched",
        generation: 1,
        changedAt: store.now(),
        readAt: undefined,
        channel: undefined,
        isSilent: false,
      });
      const changedAt = store.now();
      await store.clock.advance(1_000);
      await openChannel(store, id);
      await store.polls.noteReads([id], {
        at: store.now(),
        unlessAfter: store.now(),
        wakeBy: store.now(),
      });
      const noted = await publishAs(store, id, "live");
      expect(noted).toMatchObject({ watchState: "watched", generation: 1, changedAt });
      expect(noted).toMatchObject({ readAt: store.now(), channel: { createdAt: store.now() } });
      const { freshUntil, ...past } = must(await store.polls.of(id));
      expect(past).toEqual({
        kind: "live",
        watchState: "watched",
        changedAt,
        readAt: store.now(),
        notifiedAt: undefined,
      });
      expect(freshUntil).toBe(store.later(DAY_MS) + FRESHNESS_TARGET_MS);
      await store.refresh(id, { items: [event("a")] });
      expect(await store.polls.of(id)).toMatchObject({ kind: "active", changedAt: store.now() });
      expect(await store.polls.of(calendarIdOf("cal_none"))).toBeUndefined();
    });

    test("a calendar that loses its channel is polled soon, and counts as fresh no longer than until then", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await openChannel(store, id);
      await publishAs(store, id, "live");
      await store.clock.advance(HOUR_MS);
      await settle(store, "unwatched");
      const pollBy = store.later(900_000);
      expect(await store.calendars.get(id)).toMatchObject({ dueAt: pollBy, dueReason: "poll" });
      expect(await store.polls.of(id)).toMatchObject({
        kind: "active",
        freshUntil: pollBy + FRESHNESS_TARGET_MS,
      });
      const claim = { limit: 10, perTenant: 10, queuedForMs: 60_000 };
      expect(await store.calendars.claimDue({ ...claim, now: store.now() })).toEqual([]);
      await store.clock.advance(900_000);
      const claimed = await store.calendars.claimDue({ ...claim, now: store.now() });
      expect(claimed).toMatchObject([{ calendarId: id, class: "poll" }]);
    });

    test("a silence makes a channel unproven until it is looked at; what is due for another reason stays", async () => {
      const store = await openTestStore(await freshDatabase());
      const { calendars } = await store.connect("acme", "ann", ["one", "other"]);
      const [id = calendarIdOf("a"), other = calendarIdOf("b")] = calendars;
      for (const one of calendars) {
        await openChannel(store, one);
        await publishAs(store, one, "live");
      }
      const asked = store.later(2 * HOUR_MS);
      await store.calendars.request(other, { class: "backfill", dueAt: asked });
      const silence = { untoldSince: store.now(), dueAt: store.later(HOUR_MS) };
      const pollBy = store.later(HOUR_MS);
      for (const one of calendars) await store.channels.noteSilence(one, { ...silence, pollBy });
      expect(await store.calendars.get(id)).toMatchObject({ dueAt: pollBy });
      expect(await store.calendars.get(other)).toMatchObject({ dueAt: asked });
      expect(await store.polls.of(other)).toMatchObject({
        kind: "unproven",
        freshUntil: pollBy + FRESHNESS_TARGET_MS,
      });
      expect(await publishAs(store, id, "unproven")).toMatchObject({ isSilent: true });
    });

    test("reads are noted once in a while, and wake what nobody had read for long", async () => {
      const store = await openTestStore(await freshDatabase());
      const { calendars } = await store.connect("acme", "ann", ["idle", "active"]);
      const [idle = calendarIdOf("a"), active = calendarIdOf("b")] = calendars;
      await publishAs(store, idle, "idle");
      await publishAs(store, active, "active");
      const read = (unlessAfterMs: number): Promise<number> =>
        store.polls.noteReads([...calendars, calendarIdOf("cal_none")], {
          at: store.now(),
          unlessAfter: store.later(-unlessAfterMs),
          wakeBy: store.later(60_000),
        });
      expect(await read(HOUR_MS)).toBe(2);
      const readAt = store.now();
      const wokenAt = store.later(60_000);
      expect(await store.calendars.get(idle)).toMatchObject({ dueAt: wokenAt });
      expect(await store.calendars.get(active)).toMatchObject({ dueAt: store.later(DAY_MS) });
      await store.clock.advance(HOUR_MS / 2);
      expect(await read(HOUR_MS)).toBe(0);
      expect(await store.polls.of(idle)).toMatchObject({ readAt });
      await store.clock.advance(HOUR_MS / 2);
      expect(await read(HOUR_MS)).toBe(2);
      expect(await store.polls.of(idle)).toMatchObject({ readAt: store.now() });
      expect(await store.calendars.get(idle)).toMatchObject({ dueAt: wokenAt });
    });

    test("the census counts what costs requests, and nothing of accounts that are not connected", async () => {
      const store = await openTestStore(await freshDatabase());
      expect(await store.polls.census(PROJECT, store.now())).toEqual({
        calendars: NOBODY,
        accounts: 0,
        channelLifeMs: undefined,
        silence: { replaced: 0, told: 0 },
      });
      const kinds = ["live", "unproven", "active", "idle", "idle", "unwatchable"] as const;
      const names = kinds.map((kind, at) => `${kind}-${String(at)}`);
      const { account, calendars } = await store.connect("acme", "ann", [...names, "failing"]);
      await store.connect("acme", "bob", ["never"]);
      for (const [at, kind] of kinds.entries()) {
        await publishAs(store, calendars[at] ?? calendarIdOf("a"), kind);
      }
      const { lease } = await store.begin(must(calendars.at(-1)));
      await store.postpone(lease, { state: { kind: "slowed", reason: "GCAL_UNAVAILABLE" } });
      await openChannel(store, must(calendars[0]));
      const counted = await store.polls.census(PROJECT, store.now());
      expect(counted).toEqual({
        calendars: {
          first: 1,
          live: 1,
          unproven: 1,
          active: 1,
          idle: 2,
          unwatchable: 1,
          slowed: 1,
        },
        accounts: 2,
        channelLifeMs: 10 * DAY_MS,
        silence: { replaced: 0, told: 0 },
      });
      const by = { actor: "operator", now: store.now() };
      await store.accounts.setOperatorPause(account.id, { reason: "a test" }, by);
      expect(await store.polls.census(PROJECT, store.now())).toMatchObject({
        calendars: { ...NOBODY, first: 1 },
        accounts: 1,
      });
    });

    test("channels that replaced silent ones are counted from half an hour to six hours after", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const silence = async (): Promise<unknown> =>
        (await store.polls.census(PROJECT, store.now())).silence;
      const replaced = { calendarId: id, createdAt: store.now(), reason: "silent" } as const;
      await store.channels.add({ id: "first", ...replaced });
      await store.channels.add({ id: "second", ...replaced });
      expect(await silence()).toEqual({ replaced: 0, told: 0 });
      await store.clock.advance(HOUR_MS);
      expect(await silence()).toEqual({ replaced: 2, told: 0 });
      const how = { now: store.now(), debounce: { quietMs: 1, mostMs: 1 } };
      await store.channels.markNotified([{ calendarId: id, channelId: "second" }], how);
      expect(await silence()).toEqual({ replaced: 2, told: 1 });
      await store.clock.advance(6 * HOUR_MS);
      expect(await silence()).toEqual({ replaced: 0, told: 0 });
    });

    test("one asker in a while makes the plan, and everyone reads it", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connectOne();
      const turn = (): Promise<boolean> =>
        store.polls.takeTurn(PROJECT, { now: store.now(), everyMs: 600_000 });
      const turns = await Promise.all([turn(), turn(), turn()]);
      expect(turns.filter(Boolean)).toHaveLength(1);
      expect(await store.polls.plan(PROJECT)).toBeUndefined();
      await store.polls.keepPlan(PROJECT, { factor: 1.5 });
      expect(await store.polls.plan(PROJECT)).toEqual({ factor: 1.5 });
      await store.clock.advance(599_000);
      expect(await turn()).toBe(false);
      await store.clock.advance(1_000);
      expect(await turn()).toBe(true);
      // A clock that was ahead must not stop everyone for as long as it was.
      store.clock.stepWallClock(-2 * HOUR_MS);
      expect(await turn()).toBe(true);
    });

    test("what nobody heard of while nobody listened is polled, once, and what was looked at since is not", async () => {
      const store = await openTestStore(await freshDatabase());
      const { calendars } = await store.connect("acme", "ann", ["a", "b", "c", "d"]);
      for (const id of calendars) await publishAs(store, id, "live");
      const listen = (): Promise<void> =>
        store.polls.noteListening(PROJECT, { now: store.now(), gapMs: 120_000 });
      const turn = (): Promise<boolean> =>
        store.polls.takeTurn(PROJECT, { now: store.now(), everyMs: 600_000 });
      const pull = (): Promise<{ readonly pulled: number } | undefined> =>
        store.polls.pullInUnheard(PROJECT, [store.later(60_000), store.later(120_000)]);
      await listen();
      expect(await turn()).toBe(true);
      await store.clock.advance(120_000);
      await listen();
      expect(await turn()).toBe(false);
      expect(await pull()).toBeUndefined();

      await store.clock.advance(120_001);
      await listen();
      expect(await turn()).toBe(true);
      await store.clock.advance(1_000);
      await publishAs(store, must(calendars[1]), "live");
      expect(await pull()).toEqual({ pulled: 1 });
      expect(await pull()).toEqual({ pulled: 2 });
      expect(await pull()).toEqual({ pulled: 0 });
      expect(await pull()).toBeUndefined();
      const kinds = await Promise.all(calendars.map((id) => store.polls.of(id)));
      expect(kinds.map((one) => one?.kind)).toEqual(["unproven", "live", "unproven", "unproven"]);
      expect(await store.calendars.get(must(calendars[0]))).toMatchObject({
        dueAt: store.later(60_000),
      });
    });

    test("a portion of a kind is pulled in, each to a time of its own", async () => {
      const store = await openTestStore(await freshDatabase());
      const { calendars } = await store.connect("acme", "ann", ["a", "b", "c"]);
      for (const id of calendars) await publishAs(store, id, "live");
      const change = { from: "live", to: "unproven" } as const;
      const pollBy = [store.later(60_000), store.later(120_000)];
      expect(await store.polls.pullIn(PROJECT, { ...change, pollBy })).toBe(2);
      const rows = await Promise.all(calendars.map((id) => store.calendars.get(id)));
      expect(rows.map((row) => must(row?.dueAt) - store.now())).toEqual([60_000, 120_000, DAY_MS]);
      expect(await store.polls.pullIn(PROJECT, { ...change, pollBy })).toBe(1);
      expect(await store.polls.pullIn(PROJECT, { ...change, pollBy })).toBe(0);
      const { calendars: counts } = await store.polls.census(PROJECT, store.now());
      expect(counts).toEqual({ ...NOBODY, unproven: 3 });
    });
  });
}
