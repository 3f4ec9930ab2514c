import { describe, expect, test } from "vitest";
import { epochMs } from "../../src/core/clock.ts";
import { calendarId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { event, HOUR_MS, idsOf, LEASE_MS, must, openTestStore } from "./store-fixture.ts";

const manyEvents = (count: number, prefix = "e") =>
  Array.from({ length: count }, (_, index) => event(`${prefix}${String(index).padStart(5, "0")}`));

/** Leases, fences, marks and listings. */
export function refreshConformance(freshDatabase: FreshDatabase): void {
  describe("a refresh", () => {
    test("I7: a second lease waits for the first, and says until when", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.begin(id);
      expect(
        await store.refreshes.begin(id, { now: store.now(), until: store.later(LEASE_MS) }),
      ).toEqual({ kind: "busy", until: store.later(LEASE_MS) });
    });

    test("I7: a stalled worker can neither stage, publish nor postpone over a newer lease", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const stalled = await store.begin(id);
      await store.clock.advance(LEASE_MS + 1);
      const newer = await store.begin(id);
      await store.publish(newer.lease, { items: [event("new")], syncToken: "newer" });

      expect(await store.stage(stalled.lease, { items: [event("old")] })).toBe("fenced-out");
      expect(await store.publish(stalled.lease, { items: manyEvents(1_200) })).toEqual({
        kind: "fenced-out",
      });
      expect(await store.postpone(stalled.lease, { dropSyncToken: true })).toBe("fenced-out");
      expect(idsOf(await store.readAll(id))).toEqual(["new"]);
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      expect((await store.begin(id)).state).toMatchObject({ syncToken: "newer", generation: 1 });
    });

    test("I7: a lease that has published or postponed cannot write again", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const { lease } = await store.begin(id);
      await store.publish(lease, { items: [event("a")] });
      expect(await store.publish(lease, { items: [] })).toEqual({ kind: "fenced-out" });
      expect(idsOf(await store.readAll(id))).toEqual(["a"]);
    });

    test("I6: a request during a refresh leads to another one, at its own time and in its own class", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.calendars.request(id, { class: "interactive", dueAt: store.now() });
      const { lease, state } = await store.begin(id);
      await store.clock.advance(50);
      await store.calendars.request(id, { class: "push", dueAt: store.later(500) });
      await store.publish(lease, { served: state.requested });
      expect(await store.calendars.get(id)).toMatchObject({
        requested: 2,
        served: 1,
        dueAt: store.later(500),
        dueReason: "requested",
        dueClass: "push",
      });
    });

    test("I6: a request during a refresh that fails keeps its earlier due time", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const { lease } = await store.begin(id);
      await store.calendars.request(id, { class: "push", dueAt: store.later(2_000) });
      await store.postpone(lease, { dueAt: store.later(HOUR_MS) });
      expect(await store.calendars.get(id)).toMatchObject({
        dueAt: store.later(2_000),
        dueReason: "requested",
      });
    });

    test("a postponed refresh without a request keeps the due time it was given", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.calendars.request(id, { class: "push", dueAt: store.now() });
      const { lease } = await store.begin(id);
      await store.postpone(lease, {
        dueAt: store.later(HOUR_MS),
        failure: { code: "GCAL_UNAVAILABLE", consecutive: 3 },
        pageSize: 1_250,
      });
      expect(await store.calendars.get(id)).toMatchObject({
        dueAt: store.later(HOUR_MS),
        dueReason: "backoff",
        dueClass: "push",
        consecutiveFailures: 3,
        pageSize: 1_250,
      });
    });

    test("N requests are one refresh", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { items: [event("a")] });
      for (let n = 0; n < 10; n += 1) {
        await store.calendars.request(id, { class: "push", dueAt: store.now() });
      }
      const claim = { now: store.now(), limit: 10, perTenant: 10, queuedForMs: 60_000 };
      expect(await store.calendars.claimDue(claim)).toHaveLength(1);
      const { lease, state } = await store.begin(id);
      await store.publish(lease, { kind: "incremental", served: state.requested });
      expect(await store.calendars.claimDue(claim)).toEqual([]);
      expect(await store.refreshes.begin(id, { now: store.now(), until: store.later(1) })).toEqual({
        kind: "not-due",
      });
      expect(await store.calendars.get(id)).toMatchObject({ requested: 11, served: 11 });
    });

    test("a request for a full read holds until a full read is published", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id);
      await store.calendars.request(id, { class: "backfill", dueAt: store.now(), mode: "full" });
      const first = await store.begin(id);
      expect(first.state.requestedMode).toBe("full");
      await store.publish(first.lease, { kind: "incremental", served: first.state.requested });
      const second = await store.begin(id);
      expect(second.state.requestedMode).toBe("full");
      await store.publish(second.lease, { kind: "full", served: second.state.requested });
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      expect((await store.begin(id)).state.requestedMode).toBe("incremental");
    });

    test("a backfill that comes before the next poll is not paid for as a poll", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id);
      await store.calendars.request(id, { class: "backfill", dueAt: store.now() });
      expect(await store.calendars.get(id)).toMatchObject({ dueClass: "backfill" });
      await store.calendars.request(id, { class: "push", dueAt: store.now() });
      expect(await store.calendars.get(id)).toMatchObject({ dueClass: "push" });
    });

    test("a crash in the middle of a listing resumes from its page, as a retry, without a lost mark", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.calendars.request(id, { class: "push", dueAt: store.now() });
      const crashed = await store.begin(id);
      expect(crashed.state).toMatchObject({ earlierAttempt: "none", unfinished: undefined });
      await store.stage(crashed.lease, {
        items: manyEvents(1_200, "a"),
        nextPageToken: "page-2",
        requestedAtStart: 1,
      });
      await store.clock.advance(LEASE_MS - 1);
      expect(await store.calendars.claimDue(claimAll(store.now()))).toEqual([]);
      await store.clock.advance(2);
      expect(await store.calendars.claimDue(claimAll(store.now()))).toHaveLength(1);

      const resumed = await store.begin(id);
      expect(resumed.state).toMatchObject({
        earlierAttempt: "reached-google",
        dueReason: "interrupted",
        dueClass: "push",
        unfinished: {
          kind: "full",
          nextPageToken: "page-2",
          pagesStored: 1,
          fingerprint: "query-a",
          requestedAtStart: 1,
        },
      });
      const published = await store.publish(resumed.lease, {
        isFirst: false,
        items: manyEvents(3, "b"),
        served: 1,
      });
      expect(published).toMatchObject({ kind: "published", changes: { inserted: 1_203 } });
      expect(await store.calendars.get(id)).toMatchObject({
        served: 1,
        hasUnfinishedRefresh: false,
        dueReason: "poll",
      });
    });

    test("staging a page extends the lease", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const { lease } = await store.begin(id);
      await store.clock.advance(LEASE_MS - 1);
      await store.stage(lease, { items: [event("a")], leaseUntil: store.later(LEASE_MS) });
      await store.clock.advance(2);
      expect(await store.refreshes.begin(id, { now: store.now(), until: store.later(1) })).toEqual({
        kind: "busy",
        until: store.later(LEASE_MS - 2),
      });
      expect(await store.calendars.claimDue(claimAll(store.now()))).toEqual([]);
    });

    test("an abandoned first listing leaves nothing behind", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const first = await store.begin(id);
      await store.stage(first.lease, { items: manyEvents(1_100, "abandoned") });
      await store.postpone(first.lease, { dueAt: store.now(), dropUnfinished: true });
      const second = await store.begin(id);
      expect(second.state.unfinished).toBeUndefined();
      await store.publish(second.lease, { items: [event("kept")] });
      expect(idsOf(await store.readAll(id))).toEqual(["kept"]);
    });

    test("an abandoned staged listing does not leak into the next publish", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { items: [event("a"), event("b")] });
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      const first = await store.begin(id);
      await store.stage(first.lease, { items: manyEvents(700, "abandoned") });
      await store.postpone(first.lease, { dueAt: store.now(), dropUnfinished: true });
      const second = await store.begin(id);
      await store.publish(second.lease, { kind: "incremental", items: [event("c")] });
      expect(idsOf(await store.readAll(id))).toEqual(["a", "b", "c"]);
    });

    test("I5: a sync token goes only when that is said", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { syncToken: "alive" });
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      const failed = await store.begin(id);
      await store.postpone(failed.lease, {
        dueAt: store.now(),
        failure: { code: "GCAL_RATE_LIMITED", consecutive: 1 },
      });
      const dead = await store.begin(id);
      expect(dead.state).toMatchObject({ syncToken: "alive", consecutiveFailures: 1 });
      await store.postpone(dead.lease, {
        dueAt: store.now(),
        dropSyncToken: true,
        tokenDeaths: { count: 1, lastAt: store.now() },
      });
      const after = await store.begin(id);
      expect(after.state).toMatchObject({
        syncToken: undefined,
        tokenDeaths: 1,
        lastTokenDeathAt: store.now(),
        generation: 1,
      });
    });

    test("a slowed calendar stays published, and a person's request lifts it", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { items: [event("a")] });
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      const { lease } = await store.begin(id);
      await store.postpone(lease, { state: { kind: "slowed", reason: "token-loop" } });
      expect(await store.calendars.get(id)).toMatchObject({
        state: "slowed",
        stateReason: "token-loop",
      });
      expect(idsOf(await store.readAll(id))).toEqual(["a"]);
      await store.calendars.request(id, { class: "push", dueAt: store.now() });
      // Nor does a notification hurry it: the loop would be back at once.
      const slowed = await store.calendars.get(id);
      expect(slowed).toMatchObject({ state: "slowed", requested: 2 + 1 });
      expect(slowed?.dueAt).toBeGreaterThan(store.now());
      await store.calendars.request(id, { class: "interactive", dueAt: store.now() });
      expect(await store.calendars.get(id)).toMatchObject({ state: "fresh" });
    });

    test("a lost calendar is neither due nor refreshable, and its copy stays", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id, { items: [event("a")] });
      await store.calendars.request(id, { class: "poll", dueAt: store.now() });
      const { lease } = await store.begin(id);
      await store.postpone(lease, { state: { kind: "lost", reason: "GCAL_NOT_FOUND" } });
      expect(await store.calendars.get(id)).toMatchObject({ state: "lost", dueAt: undefined });
      expect(await store.calendars.request(id, { class: "push", dueAt: store.now() })).toBe(
        "not-refreshable",
      );
      expect(await store.calendars.claimDue(claimAll(store.now()))).toEqual([]);
      expect(
        await store.refreshes.begin(id, { now: store.now(), until: store.later(1) }),
      ).toMatchObject({ kind: "not-refreshable" });
      expect(idsOf(await store.readAll(id))).toEqual(["a"]);
    });

    test("an unknown or malformed calendar id is unknown, and no error", async () => {
      const store = await openTestStore(await freshDatabase());
      for (const name of ["cal_unknown", "", "cal_\0", "\ud800", "'; drop table calendars; --"]) {
        const id = calendarId(name);
        expect(await store.calendars.get(id)).toBeUndefined();
        expect(await store.calendars.request(id, { class: "poll", dueAt: store.now() })).toBe(
          "unknown-calendar",
        );
        expect(
          await store.refreshes.begin(id, { now: store.now(), until: store.later(1) }),
        ).toEqual({ kind: "unknown-calendar" });
        expect(await store.events.readEvents(id, { limit: 1 }, store.now())).toEqual({
          kind: "unknown-calendar",
        });
        expect(await store.postpone({ calendarId: id, fence: 1 })).toBe("fenced-out");
      }
    });

    test("I7: of many workers that begin at once one gets the lease", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      const begun = await Promise.all(
        Array.from({ length: 8 }, () =>
          store.refreshes.begin(id, { now: store.now(), until: store.later(LEASE_MS) }),
        ),
      );
      expect(begun.filter(({ kind }) => kind === "begun")).toHaveLength(1);
      expect(begun.filter(({ kind }) => kind === "busy")).toHaveLength(7);
    });

    test("I6: requests from many at once are all counted", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = must((await store.connect("acme", "ann", ["a"])).calendars[0]);
      await Promise.all(
        Array.from({ length: 40 }, () =>
          store.calendars.request(id, { class: "push", dueAt: store.now() }),
        ),
      );
      expect(await store.calendars.get(id)).toMatchObject({ requested: 40 });
    });
  });
}

function claimAll(now: number) {
  return { now: epochMs(now), limit: 100, perTenant: 100, queuedForMs: 60_000 };
}
