import { describe, expect, test } from "vitest";
import type { DeadGrantAnswer, WaveLimits } from "../../src/core/dead-grants.ts";
import { accountName, projectId, tenantId, type AccountId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { HOUR_MS, must, openTestStore, type TestStore } from "./store-fixture.ts";

const PROJECT = projectId("default");
const MINUTE_MS = 60_000;
const REASON = "GCAL_CREDENTIALS_REVOKED";
const LIMITS: WaveLimits = {
  windowMs: 5 * MINUTE_MS,
  accounts: 5,
  share: 0.01,
  probeEveryMs: 3 * MINUTE_MS,
};

async function connectMany(store: TestStore, count: number): Promise<readonly AccountId[]> {
  const ids: AccountId[] = [];
  for (let n = 0; n < count; n += 1) {
    const { account } = await store.connect("acme", `account-${String(n)}`, ["a", "b", "c"]);
    ids.push(account.id);
  }
  return ids;
}

function report(
  store: TestStore,
  id: AccountId,
  limits: Partial<WaveLimits> = {},
): Promise<DeadGrantAnswer> {
  return store.deadGrants.report(id, {
    reason: REASON,
    now: store.now(),
    limits: { ...LIMITS, ...limits },
  });
}

async function reportAll(
  store: TestStore,
  ids: readonly AccountId[],
): Promise<readonly DeadGrantAnswer[]> {
  const answers: DeadGrantAnswer[] = [];
  for (const id of ids) answers.push(await report(store, id));
  return answers;
}

const repeat = (answer: DeadGrantAnswer, times: number): readonly DeadGrantAnswer[] =>
  Array.from({ length: times }, () => answer);

/** Refused credentials: one account is disconnected, a wave of them is not. */
export function deadGrantConformance(freshDatabase: FreshDatabase): void {
  describe("refused credentials", () => {
    test("one account is disconnected, once, and nobody else", async () => {
      const store = await openTestStore(await freshDatabase());
      const [first] = await connectMany(store, 2);
      expect(await report(store, must(first))).toBe("disconnected");
      expect(await report(store, must(first))).toBe("known");
      expect(await store.accounts.get(must(first))).toMatchObject({
        state: "needs-reconnect",
        stateReason: REASON,
      });
      expect(await store.accounts.countsByState()).toMatchObject({
        connected: 1,
        "needs-reconnect": 1,
      });
      expect(await store.deadGrants.holds(store.now())).toEqual([]);
    });

    test("I8: a wave stops nobody: those it had disconnected are connected again, and it is told once", async () => {
      const store = await openTestStore(await freshDatabase());
      const ids = await connectMany(store, 8);
      expect(await reportAll(store, ids)).toEqual([
        ...repeat("disconnected", 5),
        "hold-began",
        "held",
        "held",
      ]);
      expect(await store.accounts.countsByState()).toMatchObject({
        connected: 8,
        "needs-reconnect": 0,
      });
      expect(await store.deadGrants.holds(store.now())).toEqual([
        { projectId: PROJECT, since: store.now(), failing: 8 },
      ]);
      const told = await store.operatorLog.list({ limit: 100 });
      expect(told.filter(({ action }) => action === "disconnects.held")).toMatchObject([
        { actor: "ballast", details: { refused: 6, connectedAgain: 5 } },
      ]);
      // It outlives a restart: the next process finds it.
      const next = await openTestStore(store.url, { clock: store.clock });
      expect(await report(next, must(ids[0]))).toBe("held");
    });

    test("as many over hours are no wave", async () => {
      const store = await openTestStore(await freshDatabase());
      for (const id of await connectMany(store, 8)) {
        expect(await report(store, id)).toBe("disconnected");
        await store.clock.advance(MINUTE_MS + 1);
      }
    });

    test("where very many are connected, a wave is a part of them and not a number", async () => {
      const store = await openTestStore(await freshDatabase());
      const answers: DeadGrantAnswer[] = [];
      for (const id of (await connectMany(store, 12)).slice(0, 7)) {
        answers.push(await report(store, id, { accounts: 2, share: 0.5 }));
      }
      expect(answers).toEqual([...repeat("disconnected", 6), "hold-began"]);
    });

    test("an account that is held asks by one calendar every few minutes, and none is set aside", async () => {
      const store = await openTestStore(await freshDatabase());
      const ids = await connectMany(store, 6);
      await reportAll(store, ids);
      for (const round of [1, 2, 3]) {
        const due = await store.calendars.list({ accountId: must(ids[0]), limit: 10 });
        const waits = due.map(({ dueAt }) => Number(dueAt) - store.now()).toSorted((a, b) => a - b);
        expect({ round, waits }).toEqual({
          round,
          waits: [3 * MINUTE_MS, 6 * MINUTE_MS, 6 * MINUTE_MS],
        });
        expect(await store.accounts.get(must(ids[0]))).toMatchObject({
          discoveryDueAt: expect.toSatisfy(
            (at: number) => at >= store.later(6 * MINUTE_MS),
          ) as unknown,
        });
        await store.clock.advance(3 * MINUTE_MS);
        const calendars = await store.calendars.list({ accountId: must(ids[0]), limit: 10 });
        const [probe, ...others] = calendars.filter(({ dueAt }) => Number(dueAt) <= store.now());
        expect(others).toEqual([]);
        const { lease } = await store.begin(must(probe).id);
        await store.postpone(lease, {
          failure: { code: REASON, consecutive: 7 + round },
          state: { kind: "slowed", reason: REASON },
        });
        expect(await report(store, must(ids[0]))).toBe("held");
        expect(await store.calendars.counts()).toMatchObject({ slowed: 0 });
      }
    });

    test("an operator resumes it, with a record; then each is judged alone, and connecting anew works meanwhile", async () => {
      const store = await openTestStore(await freshDatabase());
      const ids = await connectMany(store, 7);
      await reportAll(store, ids);
      const again = await store.accounts.connect({
        projectId: PROJECT,
        tenantId: tenantId("acme"),
        name: accountName("account-6"),
        quotaUser: undefined,
        refreshToken: "new",
        scopes: [],
        now: store.now(),
      });
      expect(again.state).toBe("connected");
      expect(await store.deadGrants.holds(store.now())).toMatchObject([{ failing: 6 }]);

      const by = { actor: "olga", reason: "they were revoked", now: store.now() };
      const until = store.later(HOUR_MS);
      expect(await store.deadGrants.resume(PROJECT, { ...by, until })).toBe(true);
      expect(await store.deadGrants.resume(PROJECT, { ...by, until })).toBe(false);
      expect(await store.operatorLog.list({ limit: 1 })).toMatchObject([
        { action: "disconnects.resumed", actor: "olga", reason: "they were revoked" },
      ]);
      expect(await store.deadGrants.holds(store.now())).toEqual([]);
      expect(await reportAll(store, ids.slice(0, 6))).toEqual(repeat("disconnected", 6));

      await store.clock.advance(HOUR_MS);
      const more = await connectMany(store, 6);
      expect(await reportAll(store, more)).toEqual([...repeat("disconnected", 5), "hold-began"]);
    });

    test("an operator's pause outlives a wave (I12)", async () => {
      const store = await openTestStore(await freshDatabase());
      const ids = await connectMany(store, 6);
      const by = { actor: "olga", now: store.now() };
      await report(store, must(ids[0]));
      await store.accounts.setOperatorPause(must(ids[0]), { reason: "legal hold" }, by);
      await reportAll(store, ids.slice(1));
      expect(await store.accounts.get(must(ids[0]))).toMatchObject({ state: "paused" });
      expect(await store.calendars.counts()).toMatchObject({ paused: 3 });
      await store.accounts.setOperatorPause(must(ids[0]), undefined, by);
      expect(await store.accounts.get(must(ids[0]))).toMatchObject({ state: "connected" });
    });
  });
}
