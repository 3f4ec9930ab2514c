import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { CalendarState, ClaimedCalendar, ClaimQuery } from "../../src/core/calendar-store.ts";
import { epochMs } from "../../src/core/clock.ts";
import { tenantId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { requestConformance } from "./store-requests.ts";
import {
  event,
  HOUR_MS,
  LEASE_MS,
  listEntry,
  must,
  openTestStore,
  type TestStore,
} from "./store-fixture.ts";

const ids = (count: number, prefix: string) =>
  Array.from({ length: count }, (_, n) => `${prefix}-${String(n)}@example.test`);

function perTenant(claimed: readonly ClaimedCalendar[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { tenantId: tenant } of claimed) counts[tenant] = (counts[tenant] ?? 0) + 1;
  return counts;
}

function claim(
  store: TestStore,
  changes: Partial<ClaimQuery> = {},
): Promise<readonly ClaimedCalendar[]> {
  return store.calendars.claimDue({
    now: store.now(),
    limit: 100,
    perTenant: 100,
    queuedForMs: 60_000,
    ...changes,
  });
}

/** Due times, claims, lists and counts. */
export function calendarConformance(freshDatabase: FreshDatabase): void {
  requestConformance(freshDatabase);
  describe("the claim", () => {
    test("shares a claim among tenants, whatever one of them has overdue", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connect("big", "b", ids(60, "big"));
      await store.clock.advance(10);
      await store.connect("small", "s", ids(3, "small"));
      await store.connect("tiny", "t", ids(1, "tiny"));
      expect(perTenant(await claim(store, { limit: 12 }))).toEqual({ big: 8, small: 3, tiny: 1 });
    });

    test("goes from tenant to tenant in turn, also one calendar at a time and in one millisecond", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connect("big", "b", ids(60, "big"));
      await store.connect("small", "s", ids(2, "small"));
      const taken: ClaimedCalendar[] = [];
      for (let look = 0; look < 6; look += 1) taken.push(...(await claim(store, { limit: 1 })));
      expect(perTenant(taken)).toEqual({ big: 4, small: 2 });
      expect(perTenant(taken.slice(0, 4))).toEqual({ big: 2, small: 2 });
      await store.connect("late", "l", ids(1, "late"));
      expect(
        perTenant([...(await claim(store, { limit: 1 })), ...(await claim(store, { limit: 1 }))]),
      ).toMatchObject({ late: 1 });
    });

    test("gives a tenant as many calendars a turn as its weight, however few a claim takes", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connect("heavy", "h", ids(40, "heavy"));
      await store.connect("light", "l", ids(40, "light"));
      const weights = new Map([[tenantId("heavy"), 3]]);
      expect(perTenant(await claim(store, { limit: 16, weights }))).toEqual({
        heavy: 12,
        light: 4,
      });
      const taken: ClaimedCalendar[] = [];
      for (let look = 0; look < 16; look += 1) {
        taken.push(...(await claim(store, { limit: 1, weights })));
      }
      expect(perTenant(taken)).toEqual({ heavy: 12, light: 4 });
      // K comes before weight.
      expect(perTenant(await claim(store, { limit: 12, perTenant: 26, weights }))).toEqual({
        heavy: 2,
        light: 10,
      });
    });

    test("a person's wish is not hidden by a background job that waits; a job that finds nothing due gives its mark back", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      expect(await claim(store)).toMatchObject([{ calendarId: id, class: "poll" }]);
      expect((await store.calendars.get(id))?.queuedUntil).toBe(store.later(60_000));
      await store.calendars.request(id, { class: "interactive", dueAt: store.now() });
      expect((await store.calendars.get(id))?.queuedUntil).toBeUndefined();
      expect(await claim(store)).toMatchObject([{ calendarId: id, class: "interactive" }]);
      expect(await claim(store)).toEqual([]);
      const { lease, state } = await store.begin(id);
      await store.publish(lease, { served: state.requested });
      // The other job comes, and in between somebody has asked for later, which a claimer with a fast clock took.
      await store.calendars.request(id, { class: "push", dueAt: store.later(2_000) });
      expect(await claim(store, { now: store.later(2_000) })).toHaveLength(1);
      const late = { now: store.now(), until: store.later(LEASE_MS) };
      expect(await store.refreshes.begin(id, late)).toEqual({ kind: "not-due" });
      await store.clock.advance(1_999);
      expect(await claim(store)).toEqual([]);
      await store.clock.advance(1);
      expect(await claim(store)).toMatchObject([{ calendarId: id, class: "push" }]);
    });

    test("finds the one that is due behind many tenants that were served meanwhile", async () => {
      const store = await openTestStore(await freshDatabase());
      for (const tenant of ids(9, "tenant")) await store.connect(tenant, "ann", ["c"]);
      for (const { calendarId: id } of await claim(store)) await store.refresh(id);
      await store.clock.advance(60_001);
      const late = await store.connect("late", "lou", ["c", "d"]);
      const taken = [...(await claim(store, { limit: 1 })), ...(await claim(store, { limit: 9 }))];
      expect(taken.map(({ calendarId: id }) => id).toSorted()).toEqual(late.calendars.toSorted());
    });

    test("looks again at who was passed over while the account was paused, refused or without calendars", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account, calendars } = await store.connect("acme", "ann", ["c"]);
      const claimAll = async (): Promise<number> => {
        const watches = { now: store.now(), limit: 10, queuedForMs: 1 };
        const work = await claim(store, { queuedForMs: 1 });
        return work.length + (await store.channels.claimWatches(watches)).length;
      };
      const by = { actor: "op", now: store.now() };
      expect(await claimAll()).toBe(2);
      await store.clock.advance(1);
      await store.accounts.setOperatorPause(account.id, { reason: "incident 7" }, by);
      expect(await claimAll()).toBe(0);
      await store.accounts.setOperatorPause(account.id, undefined, by);
      expect(await claimAll()).toBe(2);
      await store.clock.advance(1);
      await store.accounts.markNeedsReconnect(account.id, "GCAL_GRANT_REVOKED");
      expect(await claimAll()).toBe(0);
      await store.connect("acme", "ann", ["c"]);
      expect(await claimAll()).toBe(2);
      await store.clock.advance(1);
      const listed = { entries: [listEntry("c", { isDeleted: true })] };
      await store.discover(account.id, { kind: "incremental", ...listed });
      // Its channels are to be stopped.
      expect(await claimAll()).toBe(1);
      await store.discover(account.id, { kind: "incremental", entries: [listEntry("c")] });
      expect(await claimAll()).toBe(2);
      await store.clock.advance(1);
      const { lease } = await store.begin(must(calendars[0]));
      expect(await claimAll()).toBe(1);
      await store.postpone(lease, { dueAt: store.now() });
      expect(await claim(store)).toHaveLength(1);
    });

    test("holds at most K of a tenant queued, those already queued counted", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connect("big", "b", ids(30, "big"));
      await store.connect("small", "s", ids(5, "small"));
      expect(perTenant(await claim(store, { limit: 1 }))).toEqual({ big: 1 });
      expect(perTenant(await claim(store, { perTenant: 4 }))).toEqual({ big: 3, small: 4 });
      expect(await claim(store, { perTenant: 4 })).toEqual([]);
      await store.clock.advance(60_001);
      // What was queued and never begun needs no clean-up: it is due again.
      expect(perTenant(await claim(store, { perTenant: 4 }))).toEqual({ big: 4, small: 4 });
    });

    test("takes the most urgent class first, and the longest due first within it", async () => {
      const store = await openTestStore(await freshDatabase());
      const { calendars } = await store.connect("acme", "a", ids(6, "c"));
      for (const id of calendars) await store.refresh(id);
      const ask = async (
        index: number,
        wish: { class: "interactive" | "push" | "backfill"; after: number },
      ) => {
        await store.calendars.request(must(calendars[index]), {
          class: wish.class,
          dueAt: store.later(wish.after),
        });
      };
      await ask(0, { class: "backfill", after: 0 });
      await ask(1, { class: "push", after: 20 });
      await ask(2, { class: "push", after: 10 });
      await ask(3, { class: "interactive", after: 30 });
      await ask(4, { class: "push", after: 1_000 });
      await store.clock.advance(100);
      const claimed = await claim(store);
      expect(claimed.map((row) => [calendars.indexOf(row.calendarId), row.class])).toEqual([
        [3, "interactive"],
        [2, "push"],
        [1, "push"],
        [0, "backfill"],
      ]);
    });

    test("is safe with several claimers: nothing twice, nothing missed, K held", async () => {
      const url = await freshDatabase();
      const first = await openTestStore(url);
      const second = await openTestStore(url, { clock: first.clock });
      for (const tenant of ["a", "b", "c", "d"]) {
        await first.connect(tenant, tenant, ids(40, tenant));
      }
      const claims = await Promise.all(
        Array.from({ length: 12 }, (_, n) =>
          claim(n % 2 === 0 ? first : second, { limit: 9, perTenant: 25 }),
        ),
      );
      const all = claims.flat();
      expect(new Set(all.map((row) => row.calendarId)).size).toBe(all.length);
      expect(perTenant(all)).toEqual({ a: 25, b: 25, c: 25, d: 25 });
    });

    test("passes over whom it is told to; what is due of theirs is as it was, and first when it is asked for again", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connect("paused", "p", ids(3, "paused"));
      await store.clock.advance(10);
      await store.connect("acme", "a", ids(3, "acme"));
      const paused = tenantId("paused");
      const before = await store.calendars.list({ tenantId: paused, limit: 10 });
      const query = { limit: 2, perTenant: 9, queuedForMs: 60_000, except: new Set([paused]) };
      const claimed = await store.calendars.claimDue({ ...query, now: store.now() });
      expect(perTenant(claimed)).toEqual({ acme: 2 });
      expect(await store.calendars.list({ tenantId: paused, limit: 10 })).toEqual(before);
      expect(perTenant(await claim(store, { limit: 1 }))).toEqual({ paused: 1 });
    });

    test("leaves calendars of accounts that are not connected, and of running refreshes", async () => {
      const store = await openTestStore(await freshDatabase());
      const gone = await store.connect("acme", "gone", ids(3, "gone"));
      const kept = await store.connect("acme", "kept", ids(3, "kept"));
      await store.begin(must(kept.calendars[0]));
      await store.calendars.request(must(kept.calendars[0]), { class: "push", dueAt: store.now() });
      expect(await store.accounts.markNeedsReconnect(gone.account.id, "invalid_grant")).toBe(true);
      expect(await store.calendars.backlog(store.now())).toEqual({
        interactive: 0,
        push: 0,
        poll: 2,
        backfill: 0,
      });
      const claimed = await claim(store);
      expect(new Set(claimed.map((row) => row.calendarId))).toEqual(
        new Set(kept.calendars.slice(1)),
      );
      expect(await store.calendars.backlog(store.now())).toMatchObject({ poll: 0 });
    });
  });

  describe("lists and counts", () => {
    test("a list is paged by key and bounded", async () => {
      const store = await openTestStore(await freshDatabase());
      await store.connect("acme", "a", ids(7, "a"));
      const other = await store.connect("other", "o", ids(2, "o"));
      const first = await store.calendars.list({ tenantId: tenantId("acme"), limit: 5 });
      const rest = await store.calendars.list({
        tenantId: tenantId("acme"),
        limit: 5,
        after: must(first.at(-1)).id,
      });
      expect([first.length, rest.length]).toEqual([5, 2]);
      expect(new Set([...first, ...rest].map((row) => row.id)).size).toBe(7);
      expect(await store.calendars.list({ accountId: other.account.id, limit: 5 })).toHaveLength(2);
    });

    test("counts and lists by state agree with the state each row derives, at any time", async () => {
      const store = await openTestStore(await freshDatabase());
      const { account, calendars } = await store.connect("acme", "a", ids(8, "a"));
      const paused = await store.connect("acme", "p", ids(2, "p"));
      const at = (index: number) => must(calendars[index]);
      for (const index of [1, 2, 3, 4, 5]) await store.refresh(at(index), { items: [event("e")] });
      await store.calendars.request(at(2), { class: "poll", dueAt: store.now() });
      for (const [index, kind] of [
        [3, "slowed"],
        [4, "lost"],
        [6, "slowed"],
      ] as const) {
        await store.calendars.request(at(index), { class: "poll", dueAt: store.now() });
        const { lease } = await store.begin(at(index));
        await store.postpone(lease, { state: { kind, reason: "GCAL_NOT_FOUND" } });
      }
      await store.refresh(at(7), { nextPoll: { dueAt: store.later(1_000), reason: "poll" } });
      await store.accounts.setOperatorPause(
        paused.account.id,
        { reason: "incident 7" },
        { actor: "op", now: store.now() },
      );
      expect(account.state).toBe("connected");
      const states = new Set<CalendarState>();
      // Around every moment at which a state turns.
      for (const step of [0, 119_999, 1, 1, 1_000, HOUR_MS - 1_000, 119_999, 1, 1, 10 * HOUR_MS]) {
        await store.clock.advance(step);
        const rows = await store.calendars.list({ limit: 1_000 });
        const derived: Record<string, number> = { total: rows.length };
        for (const { state } of rows) {
          derived[state] = (derived[state] ?? 0) + 1;
          states.add(state);
        }
        const counts = await store.calendars.counts();
        expect(counts).toEqual({ ...zeroCounts, ...derived });
        for (const state of STATES) {
          const listed = await store.calendars.list({ state, limit: 1_000 });
          expect(listed.map((row) => row.id)).toEqual(
            rows.filter((row) => row.state === state).map((row) => row.id),
          );
        }
      }
      expect([...states].toSorted()).toEqual([...STATES].toSorted());
    });

    test("ids that differ only by case or hold odd characters are different calendars", async () => {
      const store = await openTestStore(await freshDatabase());
      const odd = ["Team@x", "team@x", "a:b/c#d%e", "ü🎻", "nul\0", "lone\ud800", "%", " "];
      const { account } = await store.connect("acme", "a", odd);
      const rows = await store.calendars.list({ accountId: account.id, limit: 100 });
      expect(rows.map((row) => String(row.googleId)).toSorted()).toEqual(odd.toSorted());
    });

    test("the due time never moves later by a request", async () => {
      const store = await openTestStore(await freshDatabase());
      const id = await store.connectOne();
      await store.refresh(id);
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.integer({ min: 0, max: 100_000 }), { minLength: 1, maxLength: 6 }),
          async (delays) => {
            const before = must((await store.calendars.get(id))?.dueAt);
            for (const delay of delays) {
              await store.calendars.request(id, { class: "push", dueAt: store.later(delay) });
            }
            const wanted = Math.min(before, ...delays.map((delay) => store.later(delay)));
            expect((await store.calendars.get(id))?.dueAt).toBe(epochMs(wanted));
            await store.clock.advance(200_000);
            const { lease, state } = await store.begin(id);
            await store.publish(lease, {
              kind: "incremental",
              served: state.requested,
              nextPoll: { dueAt: store.later(LEASE_MS), reason: "poll" },
            });
          },
        ),
        { numRuns: 15 },
      );
    });
  });
}

const STATES = ["never", "fresh", "stale", "slowed", "lost", "paused"] as const;
const zeroCounts = { total: 0, never: 0, fresh: 0, stale: 0, slowed: 0, lost: 0, paused: 0 };
