import { describe, expect, test } from "vitest";
import type { EpochMs } from "../../src/core/clock.ts";
import { calendarId as calendarIdOf, type CalendarId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { HOUR_MS, LEASE_MS, openTestStore, type TestStore } from "./store-fixture.ts";

const DEBOUNCE = { quietMs: 2_000, mostMs: 10_000 };

function idsOf(rows: readonly { readonly id: string }[]): string[] {
  return rows.map(({ id }) => id);
}

const nothing = (): Promise<void> => Promise.resolve();

/** Settle the work on a calendar's channels as done. */
async function watch(store: TestStore, id: CalendarId): Promise<void> {
  const query = { now: store.now(), limit: 10, queuedForMs: 60_000 };
  const claimed = await store.channels.claimWatches(query);
  for (const { calendarId, claim } of claimed) {
    const until = store.later(LEASE_MS);
    const begun = await store.channels.beginWatch(calendarId, { claim, until });
    await store.channels.settleWatch(calendarId, {
      until: begun?.until ?? until,
      state: "watched",
      dueAt: store.later(HOUR_MS),
      consecutiveFailures: 0,
      earlierAttempt: "none",
      isSilenceAnswered: true,
      pollBy: store.later(HOUR_MS),
    });
  }
  const { watched } = await store.channels.health(store.now());
  if (watched === 0) throw new Error(`${id} is not watched`);
}

/** Push channels: kept from before they are asked for until Google has ended them. */
export function channelConformance(freshDatabase: FreshDatabase): void {
  describe("channels", () => {
    test("are known before Google answers, live from its answer on, and gone when removed", async () => {
      const store = await openTestStore(await freshDatabase());
      const calendarId = await store.connectOne();
      await store.channels.add({ id: "ch-1", calendarId, createdAt: store.now() });
      expect(await store.channels.get("ch-1")).toEqual({
        id: "ch-1",
        calendarId,
        state: "opening",
        resourceId: undefined,
        expiresAt: undefined,
        createdAt: store.now(),
        lastMessageAt: undefined,
        reason: "first",
      });

      const answer = { resourceId: "resource-9", expiresAt: store.later(1_000) };
      expect(await store.channels.confirm("ch-1", answer)).toBe(true);
      expect(await store.channels.confirm("ch-nobody", answer)).toBe(false);
      await store.channels.markNotified([{ calendarId, channelId: "ch-1" }], {
        now: store.now(),
        debounce: DEBOUNCE,
      });
      await store.channels.markStopping("ch-1");
      expect(await store.channels.get("ch-1")).toMatchObject({
        ...answer,
        state: "stopping",
        lastMessageAt: store.now(),
      });

      await store.channels.remove("ch-1");
      expect(await store.channels.get("ch-1")).toBeUndefined();
    });

    test("of one calendar may overlap; the oldest comes first", async () => {
      const store = await openTestStore(await freshDatabase());
      const calendarId = await store.connectOne();
      await store.channels.add({ id: "new", calendarId, createdAt: store.later(1) });
      await store.channels.add({ id: "old", calendarId, createdAt: store.now() });
      expect(idsOf(await store.channels.listOfCalendar(calendarId))).toEqual(["old", "new"]);
    });

    test("are told apart in the health: open, ending soon, opened after a silence", async () => {
      const store = await openTestStore(await freshDatabase());
      const calendarId = await store.connectOne();
      for (const [id, days] of Object.entries({ far: 20, near: 0.5 })) {
        await store.channels.add({ id, calendarId, createdAt: store.now(), reason: "silent" });
        const expiresAt = store.later(days * 24 * HOUR_MS);
        await store.channels.confirm(id, { resourceId: id, expiresAt });
      }
      await store.channels.add({ id: "asked", calendarId, createdAt: store.now() });
      await store.channels.add({ id: "ended", calendarId, createdAt: store.now() });
      await store.channels.markStopping("ended");
      expect(await store.channels.health(store.now())).toEqual({
        watched: 0,
        unwatched: 1,
        unwatchable: 0,
        opening: 1,
        stopping: 1,
        expiring: 1,
        silentReplaced: 2,
        silent: 0,
      });
    });

    test("are silent from what they did not tell until they tell something", async () => {
      const store = await openTestStore(await freshDatabase());
      const { calendars } = await store.connect("acme", "ann", ["a", "b"]);
      for (const calendarId of calendars) {
        const id = `of-${calendarId}`;
        await store.channels.add({ id, calendarId, createdAt: store.now() });
        await store.channels.confirm(id, { resourceId: id, expiresAt: store.later(HOUR_MS) });
        await watch(store, calendarId);
        await store.channels.noteSilence(calendarId, {
          untoldSince: store.later(1_000),
          dueAt: store.later(HOUR_MS),
          pollBy: store.later(HOUR_MS),
        });
      }
      const silent = async (): Promise<number> => (await store.channels.health(store.now())).silent;
      expect(await silent()).toBe(2);
      const [calendarId = calendarIdOf("none")] = calendars;
      await store.refresh(calendarId);
      await store.clock.advance(1_000);
      await store.channels.markNotified([{ calendarId, channelId: `of-${calendarId}` }], {
        now: store.now(),
        debounce: DEBOUNCE,
      });
      expect(await silent()).toBe(1);
    });
  });

  describe("the work on channels", () => {
    test("is claimed once, begun by its latest claim only, and due again when nobody settles it", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const claim = async () =>
        store.channels.claimWatches({ now: store.now(), limit: 10, queuedForMs: 60_000 });
      const [first] = await claim();
      expect(first).toMatchObject({ calendarId: id });
      expect(await claim()).toEqual([]);

      await store.clock.advance(60_000);
      const [second] = await claim();
      const until = store.later(LEASE_MS);
      const begin = (of: typeof first) =>
        store.channels.beginWatch(id, { claim: of?.claim ?? store.now(), until });
      expect(await begin(first)).toBeUndefined();
      expect(await begin(second)).toMatchObject({
        calendarId: id,
        isWanted: true,
        state: "unwatched",
        untoldSince: undefined,
        consecutiveFailures: 0,
        earlierAttempt: "none",
        channels: [],
      });
      expect(await begin(second)).toBeUndefined();
      expect(await claim()).toEqual([]);
      await store.clock.advance(LEASE_MS + 1);
      expect(await claim()).toHaveLength(1);
    });

    test("ends with a state and a due time; a silence noted meanwhile makes it due all the same", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const work = async (dueAt: EpochMs | undefined, whileAtIt: () => Promise<void>) => {
        const query = { now: store.now(), limit: 10, queuedForMs: 60_000 };
        const [claimed] = await store.channels.claimWatches(query);
        if (claimed === undefined) return undefined;
        const begun = await store.channels.beginWatch(id, {
          ...claimed,
          until: store.later(LEASE_MS),
        });
        if (begun === undefined) throw new Error("The work did not begin");
        await whileAtIt();
        const isSettled = await store.channels.settleWatch(id, {
          until: begun.until,
          state: "watched",
          dueAt,
          consecutiveFailures: 0,
          earlierAttempt: "none",
          isSilenceAnswered: true,
          pollBy: store.later(HOUR_MS),
        });
        return { isSilent: begun.untoldSince !== undefined, isSettled };
      };
      await store.channels.noteSilence(id, {
        untoldSince: store.now(),
        dueAt: store.now(),
        pollBy: store.now(),
      });
      expect(await work(store.later(1_000), nothing)).toEqual({ isSilent: false, isSettled: true });
      expect(await work(undefined, nothing)).toBeUndefined();
      expect(await store.channels.health(store.now())).toMatchObject({ watched: 1 });
      await store.clock.advance(1_000);
      const silence = (): Promise<void> =>
        store.channels.noteSilence(id, {
          untoldSince: store.now(),
          dueAt: store.now(),
          pollBy: store.now(),
        });
      expect(await work(undefined, silence)).toEqual({ isSilent: false, isSettled: false });
      expect(await work(undefined, nothing)).toEqual({ isSilent: true, isSettled: true });
      await store.clock.advance(100 * HOUR_MS);
      expect(await work(undefined, nothing)).toBeUndefined();
    });

    test("is shared out over tenants, and accounts that are not connected have none", async () => {
      const store = await openTestStore(await freshDatabase());
      const names = ["a", "b", "c", "d", "e", "f"];
      const big = await store.connect("big", "ann", names);
      await store.clock.advance(1);
      const small = await store.connect("small", "bob", ["g"]);
      const cut = await store.connect("cut", "cat", ["h"]);
      await store.accounts.markNeedsReconnect(cut.account.id, "GCAL_CREDENTIALS_REVOKED");
      const claimed = await store.channels.claimWatches({
        now: store.now(),
        limit: 4,
        queuedForMs: 60_000,
      });
      const ids = claimed.map(({ calendarId }) => calendarId);
      expect(ids).toContain(small.calendars[0]);
      expect(ids.filter((id) => big.calendars.includes(id))).toHaveLength(3);
      expect(ids).not.toContain(cut.calendars[0]);
    });
  });

  describe("notifications", () => {
    test("I6: of one calendar are one mark until a refresh begins, and one more after that", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id);
      const row = await store.calendars.get(id);
      await store.channels.add({ id: "ch", calendarId: id, createdAt: store.now() });
      const tell = async (): Promise<number> =>
        (
          await store.channels.markNotified([{ calendarId: id, channelId: "ch" }], {
            now: store.now(),
            debounce: DEBOUNCE,
          })
        ).marked.length;
      expect(await tell()).toBe(1);
      expect(await tell()).toBe(0);
      expect(await store.calendars.get(id)).toMatchObject({
        requested: (row?.requested ?? 0) + 1,
        dueAt: store.later(DEBOUNCE.quietMs),
        dueClass: "push",
        dueReason: "requested",
      });
      await store.clock.advance(DEBOUNCE.quietMs);
      const { lease, state } = await store.begin(id);
      expect(await tell()).toBe(1);
      await store.publish(lease, { served: state.requested });
      const left = await store.calendars.get(id);
      expect(left?.requested).toBe((left?.served ?? 0) + 1);
      expect(left?.dueAt).toBe(store.later(DEBOUNCE.quietMs));
    });

    test("put the refresh off while they come, and no longer than agreed", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id);
      const first = store.now();
      const tell = async (): Promise<number> => {
        const how = { now: store.now(), debounce: DEBOUNCE };
        const told = [{ calendarId: id, channelId: "ch" }];
        const { early } = await store.channels.markNotified(told, how);
        if (early.length > 0) await store.channels.putOff(early, how);
        return early.length;
      };
      for (let told = 0; told < 15; told += 1) {
        const isPutOff = told > 0 && store.now() - first < DEBOUNCE.mostMs - 1_000;
        expect(await tell()).toBe(isPutOff ? 1 : 0);
        // Told again at once, it would gain nothing.
        expect(await tell()).toBe(0);
        const { dueAt } = (await store.calendars.get(id)) ?? {};
        expect(dueAt).toBe(Math.min(store.now() + DEBOUNCE.quietMs, first + DEBOUNCE.mostMs));
        await store.clock.advance(900);
      }
      expect((await store.calendars.get(id))?.dueAt).toBeLessThan(store.now());
    });

    test("neither put off what a person asked for nor what is queued already", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id);
      const tell = async (): Promise<number> =>
        (
          await store.channels.markNotified([{ calendarId: id, channelId: "ch" }], {
            now: store.now(),
            debounce: DEBOUNCE,
          })
        ).early.length;
      await tell();
      await store.clock.advance(DEBOUNCE.quietMs);
      const claimed = await store.calendars.claimDue({
        now: store.now(),
        limit: 1,
        perTenant: 1,
        queuedForMs: 60_000,
      });
      expect(claimed).toHaveLength(1);
      const putOff = (): Promise<void> =>
        store.channels.putOff([id], { now: store.now(), debounce: DEBOUNCE });
      expect(await tell()).toBe(0);
      await putOff();
      expect((await store.begin(id)).state.dueClass).toBe("push");
      await tell();
      await store.calendars.request(id, { class: "interactive", dueAt: store.now() });
      const asked = store.now();
      await store.clock.advance(900);
      expect(await tell()).toBe(0);
      await putOff();
      expect(await store.calendars.get(id)).toMatchObject({
        dueClass: "interactive",
        dueAt: asked,
      });
    });

    test("of a calendar that is not known are nobody's", async () => {
      const store = await openTestStore(await freshDatabase());
      const told = [{ calendarId: calendarIdOf("cal_none"), channelId: "ch" }];
      expect(
        await store.channels.markNotified(told, { now: store.now(), debounce: DEBOUNCE }),
      ).toEqual({ marked: [], early: [] });
    });
  });
}
